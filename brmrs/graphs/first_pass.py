"""All cosines of a block of rows in low precision, with a bound of the error.

`brmrs/graphs/candidates.py` uses them to leave out nearly all pairs before exact arithmetic. Where
the processor multiplies bfloat16 much faster than float32 (AMX), bfloat16 is used. The edges do not
depend on that choice, as the bound holds for either.
"""

import time
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HALF_FROM = 1e12  # multiplications from which the choice of the precision is worth a test
FASTER = 2.0  # how much faster bfloat16 has to be, as it leaves more candidates
ROUND_FLOAT, ROUND_HALF = 2.0**-24, 2.0**-8  # relative errors of one rounding
CHECKED = 16  # rows whose errors are compared with the bound
TILE = 4096  # rows converted to float64 at once; bounds memory


class FirstPass:
    """The unit vectors of one modality for products with a known error.

    Attributes:
        error: largest error of a product before it is rounded to its own precision.
        rounding: relative error of that rounding; 0 for float32, where `error` has it.
    """

    def __init__(self, units: NDArray[np.float32]):
        """Take (n, d) unit vectors; rows of zeros give cosines of 0."""
        rows, width = units.shape
        exact = torch.from_numpy(units)
        # Of d products, each order of summation in float32 errs by at most d 2^-24 sum |x_i y_i|,
        # and that sum is at most 1; 1.01 is for vectors longer than 1 by a rounding. Four more are
        # for the vectors' own rounding (see `leading.upper`).
        self.error, self.rounding, self._rows = 1.01 * (width + 6) * ROUND_FLOAT, 0.0, exact
        if rows**2 * width > HALF_FROM and half_is_faster():
            half = exact.bfloat16()
            # |x y - x' y'| <= |x - x'| |y| + |x'| |y - y'| <= 2.02 max |x - x'|
            error = self.error + 2.02 * _largest_distance(exact, half)
            if _within(error, exact, half):
                self.error, self.rounding, self._rows = error, 1.01 * ROUND_HALF, half

    def cosines(self, start: int, stop: int) -> "Block":
        """Of the rows from start to stop with all rows; 0 for a row with itself."""
        products = self._rows[start:stop] @ self._rows.T
        own = torch.arange(stop - start)
        products[own, start + own] = 0
        errors = torch.full((stop - start,), self.error)
        if self.rounding:
            # torch's norm of bfloat16 takes four times as long
            largest = torch.maximum(products.amax(dim=1), -products.amin(dim=1))
            errors += self.rounding * largest.float()
        return Block(products, errors)


@dataclass(frozen=True)
class Block:
    """Cosines of some rows from the first pass.

    Attributes:
        products: (b, n) in float32 or bfloat16.
        errors: (b,) float32, the largest error of a product of the row.
    """

    products: Tensor
    errors: Tensor

    def rows(self, first: int, last: int) -> "Block":
        """A part of the block."""
        return Block(self.products[first:last], self.errors[first:last])


def _largest_distance(exact: Tensor, half: Tensor) -> float:
    """The largest distance of a vector from its rounded form."""
    pairs = zip(torch.split(exact, TILE), torch.split(half, TILE), strict=True)
    return max(float((x - y.float()).double().norm(dim=1).max()) for x, y in pairs)


def _within(error: float, exact: Tensor, half: Tensor) -> bool:
    """Whether this machine's product keeps to the bound: sums in bfloat16 would not."""
    products = (half[:CHECKED] @ half.T).double()
    few = exact[:CHECKED].double()
    true = torch.cat([few @ part.double().T for part in torch.split(exact, TILE)], dim=1)
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
