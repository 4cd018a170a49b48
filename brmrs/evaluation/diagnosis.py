"""Modality inconsistency in the ranking, measured (docs/method.md, 1).

For held-out pairs (u, i+) and the first K items of each branch, training items masked.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from brmrs.columns import FUSED, MODALITIES
from brmrs.evaluation.metrics import evaluated
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer

PAIRS_PER_BLOCK = 4096

DEFINITIONS = {
    "cross_modal_confusion": "share of the negatives above a held-out item in the fused first K "
    "(all of them if it is not there) that score at least as high as it in one modality and lower "
    "in the other",
    "fusion_degeneration": "share of the held-out items in the first K of the text or the visual "
    "branch that are not in the fused first K",
    "synergy": "share of the held-out items in the fused first K that are not in the first K of "
    "the text or the visual branch",
}


def diagnose(
    branches: Mapping[str, Scorer], lists: Mapping[str, Tensor], held_out: UserItems
) -> dict[str, float | None]:
    """The three rates of `DEFINITIONS`; None if the denominator is 0.

    Args:
        branches: "text", "visual" and "fused".
        lists: of each branch, (B, K) first items of `evaluated(held_out)`, training items masked.
        held_out: the validation or the test items.
    """
    users = evaluated(held_out)
    rows, positives = held_out.of(users)
    hit = {
        name: (lists[name][rows] == positives.unsqueeze(1)).any(dim=1)
        for name in (FUSED, *MODALITIES)
    }
    unimodal = torch.stack([hit[modality] for modality in MODALITIES]).any(dim=0)
    return {
        "cross_modal_confusion": _confusion(
            branches, users[rows], positives, lists[FUSED][rows], held_out
        ),
        "fusion_degeneration": _share(~hit[FUSED], unimodal),
        "synergy": _share(~unimodal, hit[FUSED]),
    }


def _confusion(
    branches: Mapping[str, Scorer],
    users: Tensor,
    positives: Tensor,
    ranked: Tensor,
    held_out: UserItems,
) -> float | None:
    """Share of the negatives above the positive that exactly one modality confuses.

    Args:
        branches: the unimodal ones are read.
        users: (P,) of the held-out pairs.
        positives: (P,).
        ranked: (P, K) the fused first K items of the user, -1 past the end.
        held_out: no item of these is a negative.
    """
    confused = total = 0
    blocks = (torch.split(tensor, PAIRS_PER_BLOCK) for tensor in (users, positives, ranked))
    for u, positive, items in zip(*blocks, strict=True):
        reached = (items == positive.unsqueeze(1)).cumsum(dim=1) > 0
        negative = ~reached & (items >= 0) & ~held_out.contain(u.unsqueeze(1), items)
        confusable = [
            branches[modality].pairs(u, items) >= branches[modality].pairs(u, positive[:, None])
            for modality in MODALITIES
        ]
        confused += int((negative & (confusable[0] ^ confusable[1])).sum())
        total += int(negative.sum())
    return confused / total if total else None


def _share(part: Tensor, whole: Tensor) -> float | None:
    count = int(whole.sum())
    return int((part & whole).sum()) / count if count else None
