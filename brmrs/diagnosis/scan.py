"""One pass over all scores: every branch ranks a block of users, and what is needed is kept.

The pass keeps, for each held-out pair of validation and test, the scores of the held-out item and
of drawn negatives, and the item's rank; for each user, the fused first K items and their scores in
every branch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.evaluation.ranking import BLOCK_SCORES, finite, ranked_items
from brmrs.graphs.top_k import best
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer
from brmrs.training.sampling import Sampler


@dataclass(frozen=True)
class Scan:
    """The P held-out pairs of one or both parts of the split, and what the pass keeps of them.

    Attributes:
        parts: (P,) the part of each pair, VALIDATION or TEST.
        items: (P, 1 + n) int64: the held-out item, then uniform negatives of the user.
        users: (B,) the users of the pairs, increasing.
        rows: (P,) the place of each pair's user in `users`, increasing.
        scores: by branch, (P, 1 + n) float32 scores of `items`.
        ranks: by branch, (P,) int64 rank of the held-out item, counted from 1, as in evaluation.
        lists: (B, K) the fused first K items, -1 past the end.
        list_scores: by branch, (B, K) float32 scores of these items, -inf past the end.
        ranked: (B,) int64 number of items that are ranked for each user.
    """

    parts: Tensor
    items: Tensor
    users: Tensor
    rows: Tensor
    scores: Mapping[str, Tensor]
    ranks: Mapping[str, Tensor]
    lists: Tensor
    list_scores: Mapping[str, Tensor]
    ranked: Tensor

    def of(self, part: int) -> "Scan":
        """The pairs of one part of the split, and their users."""
        pairs = self.parts == part
        users, rows = torch.unique_consecutive(self.rows[pairs], return_inverse=True)
        return Scan(
            self.parts[pairs],
            self.items[pairs],
            self.users[users],
            rows,
            {name: scores[pairs] for name, scores in self.scores.items()},
            {name: ranks[pairs] for name, ranks in self.ranks.items()},
            self.lists[users],
            {name: scores[users] for name, scores in self.list_scores.items()},
            self.ranked[users],
        )


def by_part(
    branches: Mapping[str, Scorer],
    held_out: Mapping[int, UserItems],
    train: UserItems,
    protocol: str,
    *,
    k: int,
    negatives: int,
    seed: int,
) -> dict[int, Scan]:
    """The scan of each part of the split. Each user is ranked once for both.

    With the protocol `cold-items`, each part ranks other items, so each is scanned by itself.

    Args:
        branches: "fused" and others.
        held_out: the validation and the test items.
        train: the training items.
        protocol: `split.protocol`.
        k: K.
        negatives: n. They are drawn as in training: uniform over the items outside the user's
            training items, so they may be held out for the user. See `_new_items` for cold-items.
        seed: of the negatives.
    """
    together = [held_out] if protocol != "cold-items" else [{p: x} for p, x in held_out.items()]
    found: dict[int, Scan] = {}
    for each in together:
        first = next(iter(each.values()))
        among = ranked_items(protocol, first)
        users, positives, parts = _pairs(each)
        generator = torch.Generator().manual_seed(seed)
        if not len(users):
            drawn = torch.empty((0, negatives), dtype=torch.int64)
        elif among is None:
            drawn = Sampler(train, negatives).negatives(users, generator)
        else:
            drawn = _new_items(users, first, negatives, generator)
        items = torch.cat([positives.unsqueeze(1), drawn], dim=1)
        whole = scan(branches, users, items, parts, train, k, among)
        found |= {part: whole.of(part) for part in each}
    return found


def _pairs(held_out: Mapping[int, UserItems]) -> tuple[Tensor, Tensor, Tensor]:
    """(P,) users, items and parts of all pairs, by user."""
    users = torch.cat([each.users for each in held_out.values()])
    items = torch.cat([each.items for each in held_out.values()])
    parts = torch.cat([torch.full_like(each.items, part) for part, each in held_out.items()])
    order = users.argsort(stable=True)
    return users[order], items[order], parts[order]


def _new_items(users: Tensor, held_out: UserItems, n: int, generator: torch.Generator) -> Tensor:
    """(P, n) negatives of the protocol `cold-items`: new items that are not held out for the user.

    Training draws no new items, so there is no reason to draw what is held out for the user, as
    with the other protocols. Of users that have all new items of the part, any of them is drawn.
    """
    items = torch.unique(held_out.items)
    found: Tensor = items[torch.randint(len(items), (len(users), n), generator=generator)]
    free = held_out.counts[users] < len(items)
    if bool(free.any()):
        sampler = Sampler(held_out, n, drawn=items)
        found[free] = sampler.negatives(users[free], generator)
    return found


@torch.no_grad()  # a scorer may hold parameters of its model
def scan(
    branches: Mapping[str, Scorer],
    pair_users: Tensor,
    items: Tensor,
    parts: Tensor,
    train: UserItems,
    k: int,
    among: Tensor | None = None,
) -> Scan:
    """Rank all items for the users of the pairs, by every branch.

    Args:
        branches: "fused" and others.
        pair_users: (P,) increasing.
        items: (P, 1 + n): the held-out item, then others to score.
        parts: (P,) of the split.
        train: the items that are not ranked for each user.
        k: K.
        among: (I,) bool, the items that are ranked at all; None: all.

    Raises:
        NotFiniteError: a score is NaN or infinite.
    """
    users, rows = torch.unique_consecutive(pair_users, return_inverse=True)
    k = min(k, train.n_items)
    scores = {name: torch.empty(items.shape) for name in branches}
    ranks = {name: torch.empty(len(rows), dtype=torch.int64) for name in branches}
    lists = torch.full((len(users), k), -1)
    list_scores = {name: torch.full((len(users), k), -torch.inf) for name in branches}
    for block, of_block in _blocks(rows, len(users), train.n_items):
        local = rows[of_block] - block.start
        for name in sorted(branches, key=lambda each: each != FUSED):  # the fused lists first
            found = finite(branches[name].scores(users[block]))
            found[train.of(users[block])] = -torch.inf
            if among is not None:
                found[:, ~among] = -torch.inf
            if name == FUSED:
                values, best_items = best(found, k)
                lists[block] = best_items.where(values > -torch.inf, -1)
            chosen = lists[block]
            list_scores[name][block] = found.gather(1, chosen.clamp(min=0)).where(
                chosen >= 0, -torch.inf
            )
            scores[name][of_block] = found[local.unsqueeze(1), items[of_block]]
            ranks[name][of_block] = _ranks(found, local, items[of_block, 0])
    everything = torch.tensor(train.n_items) if among is None else among.sum()
    ranked = everything - (train.counts[users] if among is None else 0)
    return Scan(
        parts, items, users, rows, scores, ranks, lists, list_scores, ranked.expand(len(users))
    )


def _blocks(rows: Tensor, users: int, n_items: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the users, and of their pairs."""
    size, places = _rows_per_block(n_items), rows.numpy()
    for start in range(0, users, size):
        stop = min(start + size, users)
        first, last = np.searchsorted(places, [start, stop])
        yield slice(start, stop), slice(int(first), int(last))


def _rows_per_block(n_items: int) -> int:
    return max(1, BLOCK_SCORES // max(1, n_items))


def _ranks(scores: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """(P,) ranks of the (P,) items in (P,) rows of (B, I) scores; equal scores rank by item."""
    table, ranks = scores.numpy(), np.empty(len(items), dtype=np.int64)
    # One row at a time stays in the processor's cache, and NumPy counts booleans fast.
    for place, (row, item) in enumerate(zip(rows.tolist(), items.tolist(), strict=True)):
        line = table[row]
        above = np.count_nonzero(line > line[item])
        tied_before = np.count_nonzero(line[:item] == line[item])
        ranks[place] = 1 + above + tied_before
    return torch.from_numpy(ranks)
