"""Random views of a picture, by the augmentations of the methods' papers."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from brmrs.features.visual.seeded import DrawFrom

# Of ImageNet; every backbone's preprocessing in torchvision has them.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class Views:
    """Two distributions of augmentations, T and T'."""

    first: v2.Transform
    second: v2.Transform

    def of(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two (3, size, size) float views of a (3, h, w) uint8 image."""
        with DrawFrom(generator):
            return self.first(image), self.second(image)


def alike(size: int) -> Views:
    """SimSiam's, as in its released code: both views have the same distribution."""
    view = _view(size, smallest=0.2, saturation=0.4, blur=0.5, solarize=0.0)
    return Views(view, view)


def unlike(size: int) -> Views:
    """BYOL's, as in its released code; that of Barlow Twins has the same."""
    return Views(
        _view(size, smallest=0.08, saturation=0.2, blur=1.0, solarize=0.0),
        _view(size, smallest=0.08, saturation=0.2, blur=0.1, solarize=0.2),
    )


def _view(
    size: int, *, smallest: float, saturation: float, blur: float, solarize: float
) -> v2.Transform:
    """A random view.

    Args:
        size: side, pixels.
        smallest: share of the picture's area that a crop keeps at least.
        saturation: strength of its jitter; the other strengths are the same in all papers.
        blur: probability.
        solarize: probability.
    """
    kernel = max(3, size // 20 * 2 + 1)  # odd, a tenth of the side (23 of 224)
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(smallest, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, saturation, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], p=blur),
            v2.RandomSolarize(0.5, p=solarize),
            v2.Normalize(MEAN, STD),
        ]
    )
