"""Frozen features in the forms that models use: unit length, few dimensions, or projected."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

from brmrs.graphs.unit_rows import unit_rows

BLOCK = 2**22  # numbers; 16 MB stay in the process when freed (brmrs/system/heap.py)
WIDE = 1024  # numbers of an item from which a search for repeated items is faster
ITERATIONS = 4  # of the subspace; the spectra of image and text features fall fast


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


def projected(rows: Tensor, x: Tensor, w: Callable[[Tensor], Tensor]) -> Tensor:
    """(..., dim) w(x_i) of the items of a step; a wide x_i that repeats is projected once.

    Popular items occur often, and most of what a step gathers is pictures' vectors of 4096 numbers.

    Args:
        rows: (...) items.
        x: (I, d).
        w: (n, d) to (n, dim), row by row.
    """
    if x.shape[1] < WIDE:
        return w(embedding(rows, x))
    items, place = torch.unique(rows, return_inverse=True)
    blocks = torch.split(items, max(1, BLOCK // x.shape[1]))
    return embedding(place, torch.cat([w(embedding(block, x)) for block in blocks]))


def projected_differences(pairs: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """(B, dim) W (x_i - x_j): one row of thousands of numbers to project instead of two.

    Args:
        pairs: (B, 2) items i and j.
        x: (I, d).
        w: (d, dim), W transposed.
    """
    signs = x.new_tensor([1.0, -1.0]).expand(len(pairs), 2)
    size = max(1, BLOCK // x.shape[1])
    return torch.cat(
        [
            embedding_bag(block, x, mode="sum", per_sample_weights=sign) @ w
            for block, sign in zip(torch.split(pairs, size), torch.split(signs, size), strict=True)
        ]
    )
