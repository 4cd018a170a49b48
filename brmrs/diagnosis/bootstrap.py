"""Bootstrap over users of ratios of sums, many at once.

A quantity is sum_u a_u / sum_u b_u over the users: a share of pooled pairs (b_u is the number of
the user's pairs), or a mean of per-user shares (b_u is 1 for users that have one). Each resample
draws U of the U users with replacement (Efron & Tibshirani, 1993). All quantities of one call have
the same resamples, so functions of several of them have intervals, too.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
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
    users = len(parts)
    rng = np.random.default_rng(seed)
    sums = [np.concatenate([parts.sum(axis=0), wholes.sum(axis=0)])[None]]
    both = np.concatenate([parts, wholes], axis=1)
    for start in range(0, RESAMPLES, _ROWS):
        rows = min(_ROWS, RESAMPLES - start)
        drawn = rng.integers(users, size=(rows, users)) if users else np.empty((rows, 0), np.int64)
        counts = np.stack([np.bincount(row, minlength=users) for row in drawn])
        sums.append(counts.astype(np.float64) @ both)
    numerators, denominators = np.split(np.concatenate(sums), 2, axis=1)
    found: Floats = np.full_like(numerators, np.nan)
    np.divide(numerators, denominators, out=found, where=denominators != 0)
    return found


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
