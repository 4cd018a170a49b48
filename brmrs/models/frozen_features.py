"""Frozen features as the graph models propagate them: unit length, a few hundred dimensions."""

from collections.abc import Mapping

import torch
from torch import Tensor

ITERATIONS = 4  # of the subspace; the spectra of image and text features fall fast


def unit_rows(x: Tensor) -> Tensor:
    """(I, d) rows scaled to length 1; a zero row, an item without the modality, stays zero."""
    return torch.nn.functional.normalize(x, dim=1, eps=torch.finfo(x.dtype).tiny)


def side_by_side(features: Mapping[str, Tensor]) -> Tensor:
    """(I, sum of d_m) the unit-length features of all modalities in one row, by name."""
    return torch.cat([unit_rows(x) for _, x in sorted(features.items())], dim=1)


def principal(x: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    """(I, dim) coordinates of the rows in the leading `dim` right singular directions of (I, d) x.

    Not centred, so that a zero row stays zero. By subspace iteration (Halko et al. 2011, algorithm
    4.4, but one QR for x and its transpose together): d is 4096 for VGG16, and a full decomposition
    would take longer than many epochs. `x` itself where d <= dim.

    Args:
        x: (I, d), any device.
        dim: directions to keep.
        generator: on the CPU, of the first directions.
    """
    if x.shape[1] <= dim:
        return x
    start = torch.randn(x.shape[1], min(dim, x.shape[0]), generator=generator, dtype=x.dtype)
    directions = start.to(x.device)
    for _ in range(ITERATIONS):
        directions = torch.linalg.qr(x.T @ (x @ directions)).Q
    return x @ directions
