"""Several models against one, on the same users: interval, tests, effect size, corrections.

For each comparison, with the differences d_u = own_u - reference_u of a metric:

- `difference`: their mean, with the 95 % percentile interval of the paired bootstrap
  (Efron & Tibshirani, 1993);
- `p`: two-sided Wilcoxon signed-rank test; users with d_u = 0 are left out (Wilcoxon, 1945);
- `effect`: matched-pairs rank-biserial correlation (Kerby, 2014), the signed-rank sums
  (W+ - W-) / (W+ + W-): 1 if every changed user gained, -1 if every changed user lost;
- `p_holm`: p corrected so that the chance of any false finding stays at the level (Holm, 1979);
- `p_bh`: p corrected so that the expected share of false findings stays at the level (Benjamini &
  Hochberg, 1995).

Both corrections count all comparisons of one call.
"""

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, rankdata, wilcoxon

from brmrs.evaluation.paired import interval

LEVEL = 0.05  # of the corrected p-values
BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
DECISION = f"p (Holm) below {LEVEL:g}, and mean and effect of one sign"
_ROUNDING = 1e-12  # sums over |T_u| in another order differ by less; such users are unchanged

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Comparison:
    """One metric of one model minus that of the reference; see the module for each value.

    Attributes:
        difference: mean over the users.
        low: of its interval.
        high: of its interval.
        users: number of users.
        changed: users whose value differs.
        effect: from -1 to 1; 0 if no user changed.
        p: not corrected; 1 if no user changed.
        p_holm: at least p.
        p_bh: between p and p_holm.
        verdict: BETTER or WORSE by the rule `DECISION`, else UNDECIDED. The interval is not
            corrected for the number of comparisons, so it decides nothing.
    """

    difference: float
    low: float
    high: float
    users: int
    changed: int
    effect: float
    p: float
    p_holm: float
    p_bh: float

    @property
    def verdict(self) -> str:
        """See the class."""
        if self.p_holm >= LEVEL or self.difference * self.effect <= 0:
            return UNDECIDED
        return BETTER if self.difference > 0 else WORSE

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "verdict": self.verdict}


def compare(differences: Mapping[Key, Floats], seed: int = 0) -> dict[Key, Comparison]:
    """Test every array of paired differences; all of them are one family for the corrections.

    Args:
        differences: by comparison, (n,) own value minus reference value of each user, n > 0.
        seed: of the bootstrap.

    Raises:
        ValueError: an array is empty.
    """
    values = {key: _without_rounding(each) for key, each in differences.items()}
    p = np.array([_wilcoxon(each) for each in values.values()])
    corrected = zip(p, holm(p), benjamini_hochberg(p), strict=True)
    found = {}
    for (key, each), (raw, of_holm, of_bh) in zip(values.items(), corrected, strict=True):
        low, high = interval(each, seed)
        found[key] = Comparison(
            difference=float(each.mean()),
            low=low,
            high=high,
            users=len(each),
            changed=int(np.count_nonzero(each)),
            effect=rank_biserial(each),
            p=float(raw),
            p_holm=float(of_holm),
            p_bh=float(of_bh),
        )
    return found


def holm(p: Floats) -> Floats:
    """(n,) p-values corrected by Holm's step-down method."""
    order = np.argsort(p, kind="stable")
    steps = np.arange(len(p), 0, -1) * p[order]
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def benjamini_hochberg(p: Floats) -> Floats:
    """(n,) p-values corrected by the method of Benjamini and Hochberg."""
    if not len(p):
        return p
    corrected: Floats = false_discovery_control(p, method="bh")
    return corrected


def rank_biserial(differences: Floats) -> float:
    """The matched-pairs rank-biserial correlation of (n,) differences; 0 if all are 0."""
    changed = differences[differences != 0]
    if not len(changed):
        return 0.0
    ranks = rankdata(np.abs(changed))
    return float((ranks * np.sign(changed)).sum() / ranks.sum())


def _wilcoxon(differences: Floats) -> float:
    return float(wilcoxon(differences).pvalue) if differences.any() else 1.0


def _without_rounding(differences: Floats) -> Floats:
    if not len(differences):
        raise ValueError("no users to compare")
    return np.where(np.abs(differences) < _ROUNDING, 0.0, differences)
