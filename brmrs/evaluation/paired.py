"""Paired comparison of two models on the same users: bootstrap of the mean difference.

Of n users with differences d_u, n are drawn with replacement and the mean of their d_u taken, many
times over: the percentile interval of Efron & Tibshirani (1993).
"""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_BLOCK = 2**20  # counts held at once
Floats = NDArray[np.float64]


def bootstrap(differences: Floats, resamples: int, seed: int) -> Floats:
    """(resamples,) means of (n,) differences drawn n times with replacement.

    Only how often each value is drawn matters, so the counts of the distinct values are drawn at
    once, from the multinomial distribution that n single draws would give them.
    """
    values, counts = np.unique(differences, return_counts=True)
    n, generator = len(differences), np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, _BLOCK // len(values))
    for start in range(0, resamples, block):
        part = means[start : start + block]
        part[:] = generator.multinomial(n, counts / n, len(part)) @ values / n
    return means


def interval(differences: Floats, confidence: float, seed: int = 0) -> tuple[float, float]:
    """The two-sided percentile interval of the mean of (n,) differences, n > 0."""
    means = bootstrap(differences, RESAMPLES, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
