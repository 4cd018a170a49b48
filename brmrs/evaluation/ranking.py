"""All-ranking: the K best items of each user out of all I, in blocks of users."""

from collections.abc import Iterator

import torch
from torch import Tensor

from brmrs.errors import UserError
from brmrs.graphs.top_k import best
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer

BLOCK_SCORES = 2**22  # scores held at once; 16 MB, which a CPU's cache nearly holds


class NotFiniteError(UserError):
    """Scores are NaN or infinite: the model cannot rank."""


@torch.no_grad()  # a scorer may hold parameters of its model
def top_k(
    branch: Scorer,
    users: Tensor,
    k: int,
    masked: UserItems | None = None,
    among: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rank all items for (B,) users, by decreasing score; equal scores by increasing item.

    Args:
        branch: s(u, i).
        users: (B,) int64.
        k: K.
        masked: items of each user that are not ranked.
        among: (I,) bool, the items that are ranked at all; None: all.

    Returns:
        (B, K) int64 items, -1 past the last item that is left to rank, and (B, K) float32 scores,
        -inf there.

    Raises:
        NotFiniteError: a score is NaN or infinite.
    """
    items = torch.full((len(users), k), -1, device=users.device)
    scores = torch.full((len(users), k), -torch.inf, device=users.device)
    for start, block in _blocks(users, branch.shape[1]):
        block_scores = _masked_scores(branch, block, masked)
        if among is not None:
            block_scores[:, ~among] = -torch.inf
        best_scores, best_items = best(block_scores, k)
        rows = slice(start, start + len(block))
        items[rows, : best_items.shape[1]] = best_items
        scores[rows, : best_scores.shape[1]] = best_scores
    items[scores == -torch.inf] = -1
    return items, scores


def ranked_items(protocol: str, held_out: UserItems) -> Tensor | None:
    """(I,) bool: the items that a part of the split ranks; None: all.

    With the protocol `cold-items` these are the part's held-out items: they are ranked among
    themselves, as is usual for items without training interactions.

    Args:
        protocol: `split.protocol`.
        held_out: the items of the part.
    """
    if protocol != "cold-items":
        return None
    among = torch.zeros(held_out.n_items, dtype=torch.bool, device=held_out.items.device)
    among[held_out.items] = True
    return among


def finite(scores: Tensor) -> Tensor:
    """The same scores, of any shape.

    Raises:
        NotFiniteError: one of them is NaN or infinite.
    """
    # The sum is several times faster than a check of each score, but may overflow.
    if not bool(scores.sum().isfinite()) and not bool(scores.isfinite().all()):
        bad = int((~scores.isfinite()).sum())
        raise NotFiniteError(
            f"{bad:,} of {scores.numel():,} scores are NaN or infinite: the model diverged in "
            "training; train again with a lower train.learning_rate, or set train.clip_norm"
        )
    return scores


def _blocks(users: Tensor, n_items: int) -> Iterator[tuple[int, Tensor]]:
    size = max(1, BLOCK_SCORES // max(1, n_items))
    for start in range(0, len(users), size):
        yield start, users[start : start + size]


def _masked_scores(branch: Scorer, users: Tensor, masked: UserItems | None) -> Tensor:
    scores = finite(branch.scores(users))
    if masked is not None:
        scores[masked.of(users)] = -torch.inf
    return scores
