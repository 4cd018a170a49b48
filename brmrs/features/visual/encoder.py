"""Embed pictures with a network: batches of one shape, bf16."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from brmrs.errors import UserError
from brmrs.features import precision
from brmrs.features.precision import Precision, Wanted
from brmrs.features.visual import pixels as pictures
from brmrs.features.visual.network import Network
from brmrs.features.visual.pixels import Preprocessing
from brmrs.system.heap import freed_memory_kept

PROBES = 16  # pictures that the precision is chosen by


def in_precision(network: Network, wanted: Wanted) -> tuple[nn.Module, Precision]:
    """The module to run, on its device, and its precision (see `brmrs.features.precision`).

    Args:
        network: with its weights.
        wanted: of the configuration.
    """
    assert network.module is not None
    size = network.preprocessing.size

    def probe(module: nn.Module) -> np.ndarray:
        return forward(module, network.preprocessing, probes(size))

    return precision.choose(wanted, network.module.to(precision.device()), probe)


def embed_all(
    module: nn.Module, preprocessing: Preprocessing, paths: Sequence[Path], batch_size: int
) -> np.ndarray:
    """(C, d) float32 vectors of image files, all at once (see `embed`)."""
    batches = embed(module, preprocessing, paths, batch_size)
    return np.concatenate([vectors for _, vectors, *_ in batches])


def embed(
    module: nn.Module, preprocessing: Preprocessing, paths: Sequence[Path], batch_size: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Embed image files that `decode.check` found to be OK.

    The vector of a picture does not depend on the other pictures, to the last bit. The last bits of
    a convolution depend on the shape of its operands, so every batch has `batch_size` rows; the
    last one is filled up.

    Args:
        module: of a `Network`, in fp32 or bf16.
        preprocessing: of the network's input.
        paths: (C,) image files.
        batch_size: images in a batch.

    Yields:
        (R,) positions in `paths`, (R, d) float32 vectors and, if the module gives maps, (R, h w D)
        float16 ones.

    Raises:
        UserError: the weights give numbers that are not finite, or too large for float16.
    """
    device = precision.device()
    module = module.to(device).to(memory_format=torch.channels_last)
    beside, start = device.type != "cpu", 0
    with freed_memory_kept():
        for pixels in pictures.batches(paths, preprocessing, batch_size, beside=beside):
            end = start + len(pixels)
            yield (
                np.arange(start, end),
                *embed_batch(module, preprocessing, pixels, batch_size),
            )
            start = end


def embed_batch(
    module: nn.Module, preprocessing: Preprocessing, pixels: np.ndarray, batch_size: int
) -> list[np.ndarray]:
    """(R, s, s, 3) uint8, R at most `batch_size`, to the vectors and maps of `embed`.

    Raises:
        UserError: as for `embed`.
    """
    count = len(pixels)
    filled = np.resize(pixels, (batch_size, *pixels.shape[1:]))
    parts = [part[:count].reshape(count, -1) for part in _parts(module, preprocessing, filled)]
    if not all(np.isfinite(part).all() for part in parts):
        raise UserError("features.visual: the weights give numbers that are not finite; use others")
    return parts


def forward(module: nn.Module, preprocessing: Preprocessing, pixels: np.ndarray) -> np.ndarray:
    """(B, s, s, 3) uint8 to (B, d) float32."""
    return _parts(module, preprocessing, pixels)[0]


def _parts(module: nn.Module, preprocessing: Preprocessing, pixels: np.ndarray) -> list[np.ndarray]:
    """(B, s, s, 3) uint8 to (B, d) float32 and, if the module gives maps, (B, h, w, D) float16."""
    with torch.inference_mode():
        output = module(tensor(pixels, preprocessing, module))
    vectors, *maps = output if isinstance(output, tuple) else (output,)
    return [vectors.float().cpu().numpy(), *(each.half().cpu().numpy() for each in maps)]


def tensor(pixels: np.ndarray, preprocessing: Preprocessing, module: nn.Module) -> torch.Tensor:
    """(B, s, s, 3) uint8 to (B, 3, s, s), scaled, of a module's type, on its device."""
    like = next(module.parameters())
    mean, std = (
        torch.tensor(values, device=like.device).view(1, 3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    images = torch.from_numpy(pixels).to(like.device).permute(0, 3, 1, 2)  # channels last
    return images.float().div_(255).sub_(mean).div_(std).to(like.dtype)


def probes(size: int) -> np.ndarray:
    """(P, size, size, 3) uint8 pictures from smooth to noisy, always the same."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for row in range(PROBES):
        coarse = torch.rand(1, 3, 2 ** (1 + row % 8), 2 ** (1 + row % 8), generator=generator)
        found.append(nn.functional.interpolate(coarse, size=(size, size), mode="bilinear"))
    return (torch.cat(found) * 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
