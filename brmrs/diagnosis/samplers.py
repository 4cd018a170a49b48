"""Negatives of the samplers: false negatives, and the negatives of CHNS against uniform ones.

CHNS draws a pool N(u) of n uniform negatives and takes the hardest of one modality. A false
negative is a drawn item that is held out for the user. Held-out items are never left out of the
draw, as that would leak them to the model; here they are only counted.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from brmrs.columns import TEXT, VISUAL
from brmrs.diagnosis.scan import Scan
from brmrs.diagnosis.schemas import HARDEST_BY_TEXT, HARDEST_BY_VISUAL, SAMPLERS, UNIFORM
from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems

DEFAULT_POOL, LARGEST_POOL = 2, 10_000
DRAWN = 64  # of a larger pool, so many candidates give the margins


def pool_of(model: Mapping[str, Any]) -> int:
    """n, the size of the pool in a model's configuration; 2 where the model has none.

    Raises:
        UserError: it is no number from 1 to 10,000.
    """
    objective = model.get("objective")
    settings = objective if isinstance(objective, Mapping) else model
    pool = settings.get("pool", DEFAULT_POOL)
    if not isinstance(pool, int) or not 0 < pool <= LARGEST_POOL:
        raise UserError(f"the bundle's pool is {str(pool)[:50]}; train again with 1 to 10,000")
    return pool


def chosen(scan: Scan, pool: int) -> dict[str, Tensor]:
    """By sampler, (P, 1) the place of its negative among the drawn ones.

    Args:
        scan: with at least min(pool, DRAWN) negatives.
        pool: n.
    """
    size = min(pool, DRAWN)
    found = {UNIFORM: torch.zeros((len(scan.items), 1), dtype=torch.int64)}
    for sampler, branch in ((HARDEST_BY_TEXT, TEXT), (HARDEST_BY_VISUAL, VISUAL)):
        of_pool = scan.scores[branch][:, 1 : 1 + size]
        found[sampler] = of_pool.argmax(dim=1, keepdim=True)
    return found


def false_negative_rates(
    scans: Mapping[int, Scan], train: UserItems, pool: int
) -> dict[str, float | None]:
    """By sampler, the probability that a negative drawn in training is held out for the user.

    The probabilities are exact for the trained scores, not counted on draws. User u has M_u items
    outside training and h held out, of ranks r in the branch. The hardest of n independent uniform
    draws is the item of rank r with probability ((M_u - r + 1) / M_u)^n - ((M_u - r) / M_u)^n. Each
    training interaction is one draw. Items without the modality count like others.

    Args:
        scans: of both parts of the split.
        train: the training items.
        pool: n.
    """
    draws = train.counts[train.counts < train.n_items].sum().double()
    if not draws:
        return dict.fromkeys(SAMPLERS)
    total = dict.fromkeys(SAMPLERS, 0.0)
    for scan in scans.values():
        weights = train.counts[scan.users][scan.rows].double() / draws
        free = scan.ranked[scan.rows].double()
        total[UNIFORM] += float((weights / free).sum())
        for sampler, branch in ((HARDEST_BY_TEXT, TEXT), (HARDEST_BY_VISUAL, VISUAL)):
            below = (free - scan.ranks[branch]) / free
            taken = (below + 1 / free) ** pool - below**pool
            total[sampler] += float((weights * taken).sum())
    return {**total}
