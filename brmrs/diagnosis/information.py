r"""How much of the ranking text and picture explain: alone, either of them, only both.

The question is which of a held-out item and a uniform negative is the held-out one, which is 1 bit.
The estimator is the explained log-likelihood of a logistic regression without intercept on margins:

    I(X) = 1 + mean of log2 sigma(sum_{m in X} w_m Delta_m)          bits

w is fitted on validation pairs, the mean is taken over test pairs. X is {t}, {v}, {t, v}, or
{t, v, f}. A useless margin has I = 0; overfitting can make it negative. The parts follow partial
information decomposition (Williams & Beer, 2010), with the smaller information as the redundancy
(Barrett, 2015):

    either            R = min(I(t), I(v))
    text_alone        I(t) - R
    visual_alone      I(v) - R
    both_by_sum       I(t, v) - max(I(t), I(v)): a weighted sum of both scores explains it
    both_beyond_sum   I(t, v, f) - I(t, v): only the fused score explains it

The five parts add up to I(t, v, f). Limits: margins enter linearly, so I is a lower bound of what
they tell. Branches have interactions as well as features, so text_alone is what the text *branch*
tells. Two noisy estimates of one thing explain more than each, which counts as both_by_sum. The
minimum counts information of equal amount as common even where it is not the same.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.diagnosis.bootstrap import Floats
from brmrs.diagnosis.scan import Scan
from brmrs.diagnosis.schemas import KNOWN, KNOWN_ALL, KNOWN_SUM, KNOWN_TEXT, KNOWN_VISUAL

REGRESSORS = {
    KNOWN_TEXT: (TEXT,),
    KNOWN_VISUAL: (VISUAL,),
    KNOWN_SUM: (TEXT, VISUAL),
    KNOWN_ALL: (TEXT, VISUAL, FUSED),
}
STEPS = 50  # of Newton's method, at most
RIDGE = 1e-6  # keeps the weights finite where a margin separates all pairs


def bits_of_pairs(validation: Scan, test: Scan) -> NDArray[np.float64]:
    """(P, 4) explained bits of each test pair, mean over its negatives, in the order of `KNOWN`.

    Args:
        validation: fits the weights.
        test: the P pairs.
    """
    found = []
    for known in KNOWN:
        fitted, measured = (_margins(each, REGRESSORS[known]) for each in (validation, test))
        scale = fitted.std(axis=(0, 1)) + (fitted.std(axis=(0, 1)) == 0)
        weights = fit(fitted.reshape(-1, fitted.shape[-1]) / scale)
        bits = 1 + log_expit(measured / scale @ weights) / np.log(2)
        found.append(bits.mean(axis=1))
    return np.stack(found, axis=1)


def decomposition(known: Floats) -> Floats:
    """(R, 5) parts, in the order of `schemas.PARTS`, of (R, 4) bits in the order of `KNOWN`."""
    text, visual, both, everything = known.T
    either, better = np.minimum(text, visual), np.maximum(text, visual)
    parts = [text - either, visual - either, either, both - better, everything - both]
    return np.stack(parts, axis=1)


def fit(margins: Floats) -> Floats:
    """(q,) weights that minimise the mean of -log sigma(w . Delta) over (N, q) margins."""
    n, q = margins.shape
    weights = np.zeros(q)
    for _ in range(STEPS):
        missed = expit(-margins @ weights)
        gradient = RIDGE * weights - margins.T @ missed / n
        curvature = (margins * (missed * (1 - missed))[:, None]).T @ margins / n
        step = np.linalg.solve(curvature + RIDGE * np.eye(q), gradient)
        weights = weights - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return weights


def _margins(scan: Scan, branches: tuple[str, ...]) -> Floats:
    """(P, n, q) margins of the held-out items against the drawn negatives."""
    of = [scan.scores[name][:, :1] - scan.scores[name][:, 1:] for name in branches]
    return np.stack([each.double().numpy() for each in of], axis=-1)
