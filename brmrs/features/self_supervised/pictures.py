"""The pictures that a backbone is trained on, decoded at a small size."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from brmrs.images.decode import to_rgb

CACHE_BYTES = 2**30  # 1 GiB: 17,000 pictures of 128 x 160 pixels
LONGEST = 4  # times the shorter side; longer pictures are squeezed


class Pictures:
    """Decoded pictures by row; those that fit into the cache stay in memory.

    Args:
        paths: (C,) image files that `decode.check` found to be OK.
        side: of the shorter side, pixels.
        cache_bytes: bound of the memory.
    """

    def __init__(self, paths: Sequence[Path], side: int, cache_bytes: int = CACHE_BYTES):
        self._paths, self._side, self._left = paths, side, cache_bytes
        self._cache: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Tensor:
        """(3, h, w) uint8."""
        cached = self._cache.get(row)
        if cached is None:
            cached = self._decode(row)
            if cached.nbytes <= self._left:
                self._left -= cached.nbytes
                self._cache[row] = cached
        return cached

    def _decode(self, row: int) -> Tensor:
        image = to_rgb(self._paths[row].read_bytes())
        scale = self._side / min(image.size)
        most = LONGEST * self._side
        size = (min(most, round(image.width * scale)), min(most, round(image.height * scale)))
        tensor: Tensor = pil_to_tensor(image.resize(size))
        return tensor
