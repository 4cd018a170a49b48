"""Bootstrap over users of ratios of sums, many at once.

A quantity is sum_u a_u / sum_u b_u over the users: a share of pooled pairs (b_u is the number of
the user's pairs), or a mean of per-user shares (b_u is 1 for users that have one). Each resample
draws U of the U users with replacement (Efron & Tibshirani, 1993). All quantities of one call have
the same resamples, so functions of several of them have intervals, too.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brmrs.evaluation.paired import CONFIDENCE

RESAMPLES = 1000
_ROWS = 64  # resamples computed at once

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Estimate(NamedTuple):
    """A value and its 95 % percentile interval; None where it is a ratio of nothing."""

    value: float | None
    low: float | None
    high: float | None

    def plain(self) -> dict[str, float | None]:
        """As JSON values."""
        return self._asdict()


def resampled(parts: Floats, wholes: Floats, seed: int) -> Floats:
    """(1 + RESAMPLES, Q) ratios: row 0 of the users themselves, the others of resamples.

    Args:
        parts: (U, Q), a_u of each quantity.
        wholes: (U, Q), b_u.
        seed: of the resamples.
    """
    both = np.concatenate([parts, wholes], axis=1)
    counts = _counts(len(parts), seed)
    blocks = (counts[start : start + _ROWS] for start in range(0, RESAMPLES, _ROWS))
    sums = [block.astype(np.float64) @ both for block in blocks]
    whole = np.concatenate([both.sum(axis=0, keepdims=True), *sums])
    numerators, denominators = np.split(whole, 2, axis=1)
    found: Floats = np.full_like(numerators, np.nan)
    np.divide(numerators, denominators, out=found, where=denominators != 0)
    return found


@lru_cache(maxsize=1)  # every call for one model has the same users
def _counts(users: int, seed: int) -> NDArray[np.uint8]:
    """(RESAMPLES, U) how often each user is in each resample, a kilobyte per user."""
    rng = np.random.default_rng(seed)
    counts = np.empty((RESAMPLES, users), dtype=np.uint8)
    for row in counts:
        drawn = rng.integers(users, size=users) if users else np.empty(0, dtype=np.int64)
        row[:] = np.bincount(drawn, minlength=users)
    return counts


def estimates(samples: Floats) -> list[Estimate]:
    """An estimate of each column of (1 + RESAMPLES, Q) samples; NaN are left out of the interval.

    Args:
        samples: from `resampled`, or a function of its columns.
    """
    found = []
    tail = 100 * (1 - CONFIDENCE) / 2
    for column in samples.T:
        known = column[1:][~np.isnan(column[1:])]
        if np.isnan(column[0]) or not len(known):
            found.append(Estimate(None, None, None))
        else:
            low, high = np.percentile(known, [tail, 100 - tail])
            found.append(Estimate(float(column[0]), float(low), float(high)))
    return found


def per_user(users: Ints, values: Floats) -> Floats:
    """(U, Q) sums of (P, Q) values over the pairs of each user.

    Args:
        users: (P,) from 0 to U - 1, each at least once.
        values: of the pairs.
    """
    size = int(users.max(initial=-1)) + 1
    columns = [np.bincount(users, column, size) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.empty((size, 0))
