"""Paired comparison of two models on the same users: bootstrap of the mean difference.

The percentile interval of Efron & Tibshirani (1993). Each resample draws n of the n users with
replacement and takes the mean of their differences d_u.
"""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
_BLOCK = 2**20  # counts held at once
Floats = NDArray[np.float64]


def bootstrap(differences: Floats, resamples: int, seed: int) -> Floats:
    """(resamples,) means of (n,) differences drawn n times with replacement.

    The mean depends only on how often each value is drawn. So the counts of the distinct values are
    drawn at once, from the multinomial distribution of n single draws.
    """
    values, counts = np.unique(differences, return_counts=True)
    n, generator = len(differences), np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, _BLOCK // len(values))
    for start in range(0, resamples, block):
        part = means[start : start + block]
        part[:] = generator.multinomial(n, counts / n, len(part)) @ values / n
    return means


def interval(differences: Floats, seed: int = 0) -> tuple[float, float]:
    """The two-sided 95 % percentile interval of the mean of (n,) differences, n > 0."""
    means = bootstrap(differences, RESAMPLES, seed)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
