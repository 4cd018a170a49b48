r"""Ranking metrics @K of one user with the held-out items T_u, |T_u| > 0.

hit_k is 1 if the item at rank k (counted from 1) is in T_u, else 0. A reported metric is the mean
over the users that have held-out items.

    Recall@K    = sum_{k<=K} hit_k / |T_u|
    Precision@K = sum_{k<=K} hit_k / K
    HitRate@K   = 1 if any hit_k with k <= K, else 0
    MRR@K       = 1 / k of the first hit with k <= K, else 0
    NDCG@K      = sum_{k<=K} hit_k / log2(k + 1)  /  sum_{k<=min(|T_u|, K)} 1 / log2(k + 1)
    MAP@K       = sum_{k<=K} hit_k * Precision@k  /  min(|T_u|, K)
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from brmrs import extensions
from brmrs.columns import METRICS, metric
from brmrs.errors import UserError
from brmrs.evaluation.ranking import top_k
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer

COLD_ITEMS = (
    "the items of a split have no training interactions and are ranked among themselves; equal "
    "scores rank by item id; mean over the users that have held-out items in the split"
)
DEFINITIONS = {
    "protocol": "all-ranking over every item; the user's training items are masked, validation "
    "items are not masked at test; equal scores rank by item id; mean over the users that have "
    "held-out items in the split",
    "recall": "hits in the first K / number of the user's held-out items",
    "precision": "hits in the first K / K",
    "hit_rate": "1 if the first K hold a hit, else 0",
    "mrr": "1 / rank of the first hit in the first K, else 0",
    "ndcg": "sum over hits of 1/log2(rank + 1), divided by its value for an ideal list of "
    "min(number of held-out items, K) hits",
    "map": "sum over hits of precision at their rank, divided by min(number of held-out items, K)",
}


# Of (B, K) float64 hits, hit_k, and (B,) float64 |T_u|: (B,) values.
Metric = Callable[[Tensor, Tensor], Tensor]
NO_OTHERS: Mapping[str, Metric] = {}


def of_plugins(plugins: Iterable[Path]) -> dict[str, Metric]:
    """The metrics that plug-in files register, by name.

    Raises:
        UserError: one has the name of a metric of the project, or cannot be imported.
    """
    found = extensions.known("metric", plugins)
    for name, extension in found.items():
        if name in METRICS or not name.isidentifier():
            raise UserError(
                f"{extension.file}: choose another name; {name!r} is taken or no identifier"
            )
    return {name: extension.load() for name, extension in found.items()}


def definitions(plugins: Iterable[Path]) -> dict[str, str]:
    """One sentence on each metric; of a plug-in's, the first line of its docstring."""
    others = extensions.known("metric", plugins)
    return DEFINITIONS | {name: each.summary for name, each in others.items()}


def from_hits(
    hits: Tensor,
    relevant: Tensor,
    cut_offs: tuple[int, ...],
    others: Mapping[str, Metric] = NO_OTHERS,
) -> dict[str, Tensor]:
    """All metrics of each user at each cut-off.

    Args:
        hits: (B, K) bool, hit_k; K is at least the largest cut-off.
        relevant: (B,) |T_u|, positive.
        cut_offs: the K to report.
        others: metrics of plug-ins, by name.

    Returns:
        (B,) float64 by name, "recall@20".

    Raises:
        UserError: a plug-in's metric does not give (B,) finite values.
        ValueError: the list is shorter than a cut-off, or a user has nothing held out.
    """
    if hits.shape[1] < max(cut_offs):
        raise ValueError(f"{hits.shape[1]} ranks do not reach the cut-off {max(cut_offs)}")
    if bool((relevant <= 0).any()):
        raise ValueError("a user without held-out items has no metrics")
    values = {}
    for k in cut_offs:
        for name, value in _at(hits[:, :k].double(), relevant.double()).items():
            values[metric(name, k)] = value
        for name, function in others.items():
            value = function(hits[:, :k].double(), relevant.double()).double()
            if value.shape != relevant.shape or not bool(value.isfinite().all()):
                raise UserError(
                    f"metric {name} gives no finite value per user at {k}: {tuple(value.shape)}"
                )
            values[metric(name, k)] = value
    return values


def _at(hits: Tensor, relevant: Tensor) -> dict[str, Tensor]:
    """The metrics of (B, K) hits at K."""
    k = hits.shape[1]
    rank = torch.arange(1, k + 1, device=hits.device, dtype=torch.float64)
    gain = 1 / torch.log2(rank + 1)
    ideal = gain.cumsum(0)[relevant.clamp(max=k).long() - 1]
    found = hits.cumsum(1)
    total = found[:, -1]
    return {
        "recall": total / relevant,
        "precision": total / k,
        "hit_rate": (total > 0).double(),
        "mrr": (hits / rank).amax(dim=1),
        "ndcg": (hits * gain).sum(dim=1) / ideal,
        "map": (hits * found / rank).sum(dim=1) / relevant.clamp(max=k),
    }


def measure(
    branch: Scorer,
    held_out: UserItems,
    train: UserItems,
    cut_offs: tuple[int, ...],
    others: Mapping[str, Metric] = NO_OTHERS,
    among: Tensor | None = None,
) -> dict[str, Tensor]:
    """Rank the items for the users with held-out items, and take every metric.

    Args:
        branch: gives the scores.
        held_out: T_u, the validation or the test items.
        train: the training items, masked.
        cut_offs: the K to report.
        others: metrics of plug-ins, by name.
        among: (I,) bool, the items that are ranked; None: all.

    Returns:
        (B,) float64 by metric name, in the order of `evaluated(held_out)`.
    """
    items, _ = top_k(branch, evaluated(held_out), max(cut_offs), train, among)
    return of_lists(items, held_out, cut_offs, others)


def of_lists(
    lists: Tensor,
    held_out: UserItems,
    cut_offs: tuple[int, ...],
    others: Mapping[str, Metric] = NO_OTHERS,
) -> dict[str, Tensor]:
    """Every metric of the users' ranked items.

    Args:
        lists: (B, K) int64 items of `evaluated(held_out)`, -1 past the end of a short list.
        held_out: T_u, the validation or the test items.
        cut_offs: the K to report.
        others: metrics of plug-ins, by name.

    Returns:
        (B,) float64 by metric name.
    """
    users = evaluated(held_out)
    hits = held_out.contain(users.unsqueeze(1), lists)
    return from_hits(hits, held_out.counts[users], cut_offs, others)


def evaluated(held_out: UserItems) -> Tensor:
    """(B,) the users that have held-out items, increasing."""
    return held_out.counts.nonzero().squeeze(1)


def means(values: dict[str, Tensor]) -> dict[str, float]:
    """The means over users; empty without users."""
    return {name: float(value.mean()) for name, value in values.items() if len(value)}
