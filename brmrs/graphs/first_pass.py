"""Upper bounds of the second term of e for all pairs of a block, from products in low precision.

`brmrs/graphs/candidates.py` uses them to leave out nearly all pairs before exact arithmetic. Where
the processor multiplies bfloat16 much faster than float32 (AMX), bfloat16 is used. The edges do not
depend on that choice, as the bounds hold for either.

The weighted unit vectors of the modalities are put side by side: with `total` the sum of all beta,
the product of the vectors (beta_m / total)^.5 x^m is sum_m beta_m cos / total. A vector x is
rounded to x', and d_x is at least |x - x'| and half of the error of a sum in float32. Then

    x y  <=  x' y' + d_x + d_y        as |x y - x' y'| <= |x - x'| |y| + |x'| |y - y'|

The row's vector ends with (1, d_x), the column's with (d_y, 1), so that their product is the right
side. Leading numbers that are large, such as the share of the mean, would have most of the error.
They are the sum of two rounded numbers, hi + lo: the row has (hi, hi, lo), the column (hi, lo, hi).

The product p is rounded once more, by at most `rounding` |p|. To make this small for the largest, a
number that is smaller than they are is taken from all products of a row. Where the true difference
is positive, the rounded one is, too. Positive floating-point
numbers have the order of their bits, read as integers. Those of negative numbers are negative
integers. So the search compares integers, which is faster in bfloat16.
"""

import logging
import time
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.graphs.lanes import Ints, Lanes
from brmrs.graphs.leading import Floats, units_of, upper
from brmrs.graphs.similarity import Similarity

LOG = logging.getLogger(__name__)
HALF_FROM = 5e10  # multiplications from which the choice of the precision is worth a test
FASTER = 2.0  # how much faster bfloat16 has to be, as it leaves more candidates
ROUND_FLOAT, ROUND_HALF = 2.0**-24, 2.0**-8  # relative errors of one rounding
CHECKED = 16  # rows whose errors are compared with the bound
TILE = 4096  # rows converted at once; bounds memory
SPLIT = 4  # leading numbers of a modality that are a sum of two
STEP = 32  # numbers that AMX multiplies at once; the width is a multiple of it


class FirstPass:
    """The vectors of n nodes whose products are upper bounds.

    Attributes:
        lanes: the order of the columns.
        kind: the integers that have as many bits as a product.
        rounding: relative error of a product's last rounding.
    """

    def __init__(self, similarity: Similarity, directions: Mapping[str, Floats]):
        """Take the vectors of the modalities that count.

        Args:
            similarity: of n nodes.
            directions: of those modalities that are taken in leading directions (see `leading`).
        """
        self.lanes = Lanes.of(similarity)
        self.total = sum(similarity.beta.values())
        self.kind, self.rounding = torch.int32, 2 * ROUND_FLOAT
        n_nodes = len(self.lanes.columns)
        width = weighted(similarity, directions, np.arange(1)).shape[1]
        large = n_nodes**2 * width > HALF_FROM
        if large and half_is_faster():
            self._fill(similarity, directions, width, torch.bfloat16)
            if _within(self._vectors):
                self.kind, self.rounding = torch.int16, 1.01 * ROUND_HALF
        if self.kind == torch.int32:
            self._fill(similarity, directions, width, torch.float32)
        if large:  # smaller ones have no choice
            LOG.info("first pass over %d nodes in %s", n_nodes, self._vectors.dtype)

    def _fill(
        self,
        similarity: Similarity,
        directions: Mapping[str, Floats],
        width: int,
        kind: torch.dtype,
    ) -> None:
        """Make the (N, width, rounded up) vectors of the columns."""
        split = torch.from_numpy(_large(similarity, directions))
        columns = torch.from_numpy(self.lanes.columns)
        self._tail = width, len(split) + 1
        end = width + 2 * (len(split) + 1)
        patterns = torch.from_numpy(self.lanes.patterns)
        padded = STEP * -(-(end + len(self.lanes.factors)) // STEP)
        self._vectors = torch.zeros(len(self.lanes.nodes), padded, dtype=kind)
        # Half of the error of lo times lo, and of a sum (see `_sum_error`).
        least = 2 * ROUND_HALF**2 + _sum_error(padded) / 2
        for start in range(0, len(columns), TILE):
            rows = slice(start, start + TILE)
            exact = torch.from_numpy(weighted(similarity, directions, rows))
            rounded = exact.to(kind)
            error = exact - rounded.float()
            low = error[:, split].to(kind)
            error[:, split] -= low.float()
            # The factor is larger than the rounding that follows.
            distance = (1.01 * error.double().norm(dim=1) + least) * (1 + 2 * ROUND_HALF)
            ends = torch.stack([distance.to(kind), torch.ones(len(exact), dtype=kind)], dim=1)
            ends *= exact.any(dim=1, keepdim=True)  # products of zeros stay 0
            parts = [rounded, low, ends[:, :1], rounded[:, split], ends[:, 1:]]
            found = torch.cat(parts, dim=1)
            self._vectors[columns[rows], :end] = found
            self._vectors[columns[rows], end + patterns[rows]] = 1

    def _rows(self, nodes: slice, offsets: Tensor) -> Tensor:
        """The vectors of some rows, from those of their columns: the ends change places.

        Args:
            nodes: b of them.
            offsets: (b, P) taken from their products with the columns of each pattern.
        """
        found = self._vectors[torch.from_numpy(self.lanes.columns[nodes])]
        start, size = self._tail
        found[:, start : start + 2 * size] = found[:, start : start + 2 * size].roll(size, dims=1)
        found[:, start + 2 * size : start + 2 * size + offsets.shape[1]] = -offsets
        return found

    def products(self, start: int, offsets: Tensor, room: Tensor) -> Tensor:
        """(b, N) of the nodes from start on with all columns.

        With the offsets, times `scales`, they are the bounds. 0: there is no common modality.

        Args:
            start: first node.
            offsets: (b, P) from `offsets`.
            room: (at least b, N) overwritten; new memory would take as long as the product.
        """
        stop = start + len(offsets)
        of_rows = self._rows(slice(start, stop), offsets)
        found = torch.mm(of_rows, self._vectors.T, out=room[: len(offsets)])
        for rows, columns in self.lanes.apart(self.lanes.patterns[start:stop]):
            found[torch.from_numpy(rows), columns] = 0
        return found

    def offsets(self, start: int, floors: Floats) -> Tensor:
        """(b, P) what is taken from the products, in their precision.

        Args:
            start: first node.
            floors: (b,) lower bounds of the k-th largest e of each row, at least 0.
        """
        of_rows = self.lanes.patterns[start : start + len(floors)]
        factors = self.lanes.factors[of_rows] * self.total
        exact = np.divide(floors[:, None], factors, out=np.zeros_like(factors), where=factors > 0)
        # Rounded down; products are at most 1.
        lower = torch.from_numpy(np.minimum(exact, 1) * (1 - 2 * ROUND_HALF))
        return lower.to(self._vectors.dtype)

    def some(self, start: int, stop: int, nodes: Ints) -> Tensor:
        """(b, s) products of the nodes from start to stop with some, for a choice among them."""
        nothing = torch.zeros(stop - start, len(self.lanes.factors), dtype=self._vectors.dtype)
        columns = torch.from_numpy(self.lanes.columns[nodes])
        return self._rows(slice(start, stop), nothing) @ self._vectors[columns].T

    def room(self, rows: int) -> Tensor:
        """Memory for the products of some rows."""
        return torch.empty(rows, len(self._vectors), dtype=self._vectors.dtype)

    @property
    def scales(self) -> Floats:
        """(P, P) what a product of two patterns is multiplied by."""
        factors = self.lanes.factors * self.total
        return np.where(factors > 0, factors, 1.0)

    def bits(self, bounds: Floats) -> Tensor:
        """The least integers of products whose true value can be at or above some bounds above 0.

        Args:
            bounds: of any shape; 0: above 0.
        """
        lower = (bounds * (1 - self.rounding - 8 * ROUND_FLOAT)).astype(np.float32)
        bits = torch.from_numpy(lower).view(torch.int32)
        if self.kind == torch.int16:
            bits = (bits >> 16).to(torch.int16)  # rounded down
        return bits.clamp(min=1)


def weighted(
    similarity: Similarity, directions: Mapping[str, Floats], nodes: slice | NDArray[np.intp]
) -> NDArray[np.float32]:
    """(b, sum of widths) vectors of some nodes, of length 1 at most, whose products are
    sum_m beta_m cos / sum_m beta_m, or its upper bounds.

    Args:
        similarity: of n nodes.
        directions: by modality; those without take their own numbers.
        nodes: b of them.
    """
    total, parts = sum(similarity.beta.values()), []
    for name in similarity.weighted:
        units = units_of(similarity, name)[nodes]
        if name in directions:
            units = upper(units, directions[name])
        parts.append(units * np.float32((similarity.beta[name] / total) ** 0.5))
    return np.concatenate(parts, axis=1)


def _large(similarity: Similarity, directions: Mapping[str, Floats]) -> NDArray[np.int64]:
    """The places of the vectors' numbers that are a sum of two: those of the first directions."""
    found, start = [np.empty(0, dtype=np.int64)], 0
    for name in similarity.weighted:
        if name in directions:
            found.append(start + np.arange(min(SPLIT, directions[name].shape[1])))
            start += directions[name].shape[1] + 1
        else:
            start += units_of(similarity, name).shape[1]
    return np.concatenate(found)


def _sum_error(width: int) -> float:
    """That of a product in float32, in any order of summation: at most d 2^-24 sum |x_i y_i|.

    The sum is at most 2.1: the vectors are longer than 1 by a rounding, have errors beside them,
    and an offset of at most 1. Eight more are for their own rounding to float32 (`leading.upper`).
    """
    return 2.1 * (width + 8) * ROUND_FLOAT


def _within(vectors: Tensor) -> bool:
    """Whether this machine's product keeps to the bound: sums in bfloat16 would not."""
    rows = vectors[:: -(-len(vectors) // CHECKED)]
    few = slice(0, len(vectors), -(-len(vectors) // TILE))
    products = (rows @ vectors.T)[:, few].double()
    true = rows.double() @ vectors[few].double().T
    bound = _sum_error(vectors.shape[1]) + 1.01 * ROUND_HALF * products.abs()
    return bool(((products - true).abs() <= bound).all())


@cache
def half_is_faster() -> bool:
    """Whether a product of bfloat16 matrices is faster here, by a test of some milliseconds."""
    a, b = torch.ones(512, 2048), torch.ones(2048, 2048)
    seconds = []
    for x, y in ((a, b), (a.bfloat16(), b.bfloat16())):
        _ = x @ y  # prepares the kernel
        started = time.perf_counter()
        for _ in range(3):
            _ = x @ y
        seconds.append(time.perf_counter() - started)
    return seconds[0] > FASTER * seconds[1]
