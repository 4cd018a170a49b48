"""Upper bounds of the second term of e for all pairs of a block, from products in low precision.

`brmrs/graphs/candidates.py` uses them to leave out nearly all pairs before exact arithmetic. Where
the processor multiplies bfloat16 much faster than float32 (AMX), bfloat16 is used. The edges do not
depend on that choice, as the bounds hold for either.

The weighted unit vectors of the modalities are put side by side: with `total` the sum of all beta,
the product of the vectors (beta_m / total)^.5 x^m is sum_m beta_m cos / total. The error E of such
a product is known before its last rounding. One more number, E^.5 or a little more, is put beside
each vector. So every product is at least the true one before it is rounded, and

    true product <= p + rounding |p|

with p the number computed. Where the true one is positive, p is, too. Positive floating-point
numbers have the order of their bits, read as integers. Those of negative numbers are negative
integers. So the search compares integers, which is faster in bfloat16.
"""

import time
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.graphs.lanes import Lanes
from brmrs.graphs.leading import Floats, upper
from brmrs.graphs.similarity import Modality, Similarity

HALF_FROM = 5e10  # multiplications from which the choice of the precision is worth a test
FASTER = 2.0  # how much faster bfloat16 has to be, as it leaves more candidates
ROUND_FLOAT, ROUND_HALF = 2.0**-24, 2.0**-8  # relative errors of one rounding
CHECKED = 16  # rows whose errors are compared with the bound
TILE = 4096  # rows converted at once; bounds memory
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
        if n_nodes**2 * width > HALF_FROM and half_is_faster():
            self._vectors, error = self._filled(similarity, directions, width, torch.bfloat16)
            if _within(error, self._vectors):
                self.kind, self.rounding = torch.int16, 1.01 * ROUND_HALF
                return
        self._vectors, _ = self._filled(similarity, directions, width, torch.float32)

    def _filled(
        self,
        similarity: Similarity,
        directions: Mapping[str, Floats],
        width: int,
        kind: torch.dtype,
    ) -> tuple[Tensor, float]:
        """(N, width, rounded up) vectors, and the error of their products without E^.5."""
        columns = torch.from_numpy(self.lanes.columns)
        padded = STEP * (width // STEP + 1)
        found = torch.zeros(len(self.lanes.nodes), padded, dtype=kind)
        filled = torch.zeros(len(found), dtype=torch.bool)
        distance = 0.0
        for start in range(0, len(columns), TILE):
            rows = slice(start, start + TILE)
            exact = torch.from_numpy(weighted(similarity, directions, rows))
            rounded = exact.to(kind)
            distance = max(distance, float((exact - rounded.float()).double().norm(dim=1).max()))
            found[columns[rows], :width] = rounded
            filled[columns[rows]] = exact.any(dim=1)
        # Of d products, each order of summation in float32 errs by at most d 2^-24 sum |x_i y_i|,
        # and that sum is at most 1; 1.02 is for vectors longer than 1 by a rounding. Eight more are
        # for the vectors' own rounding (see `leading.upper`). With vectors x' and y' in bfloat16,
        # |x y - x' y'| <= |x - x'| |y| + |x'| |y - y'| <= 2.02 max |x - x'|
        error = 1.02 * (padded + 8) * ROUND_FLOAT + 2.02 * distance
        # The factor is larger than a rounding of bfloat16. Rows of zeros keep products of 0.
        found[filled, width] = (torch.tensor(error).sqrt() * (1 + ROUND_HALF)).to(kind)
        return found, 1.02 * (padded + 8) * ROUND_FLOAT

    def products(self, start: int, stop: int, room: Tensor | None = None) -> Tensor:
        """(b, N) of the nodes from start to stop with all columns; times `scales`, they are the
        bounds. 0 for pairs without a common modality.

        Args:
            start: first node.
            stop: after the last one.
            room: (at least b, N) overwritten; new memory would take as long as the product.
        """
        own = torch.from_numpy(self.lanes.columns[start:stop])
        if room is None:
            room = self.room(len(own))
        found = torch.mm(self._vectors[own], self._vectors.T, out=room[: len(own)])
        for rows, columns in self.lanes.apart(self.lanes.patterns[start:stop]):
            found[torch.from_numpy(rows), columns] = 0
        return found

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
        modality = similarity.modalities[name]
        assert isinstance(modality, Modality)  # as `candidates.usable` says
        units = modality.units[nodes]
        if name in directions:
            units = upper(units, directions[name])
        parts.append(units * np.float32((similarity.beta[name] / total) ** 0.5))
    return np.concatenate(parts, axis=1)


def _within(error: float, vectors: Tensor) -> bool:
    """Whether this machine's product keeps to the bound: sums in bfloat16 would not."""
    rows = vectors[:: max(1, len(vectors) // CHECKED)][:CHECKED]
    few = slice(0, len(vectors), max(1, len(vectors) // TILE))
    products = (rows @ vectors.T)[:, few].double()
    true = rows.double() @ vectors[few].double().T
    return bool(((products - true).abs() <= error + 1.01 * ROUND_HALF * products.abs()).all())


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
