"""Cross-modal confusion: which negatives one modality confuses with the positive, and one not.

For a held-out pair (u, i+) and a negative j:

- by score: modality m confuses j if s_m(u, j) >= s_m(u, i+), that is Delta_m <= 0; otherwise it
  separates j;
- by cosine: m confuses j if cos(x_i+^m, x_j^m) is among the largest `diagnosis.top_share` of the
  cosines of i+ with other items; otherwise it separates j. Only pairs of items that both have text
  and picture are compared.

j is cross-modally confused if exactly one of the two modalities confuses it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.columns import FUSED, MODALITIES, TEXT, VISUAL
from brmrs.diagnosis.scan import Scan
from brmrs.diagnosis.schemas import (
    BOTH,
    DEGENERATION,
    NONE,
    ONLY_TEXT,
    ONLY_VISUAL,
    QUADRANTS,
    SETS,
    SYNERGY,
)
from brmrs.evaluation.lists import Features
from brmrs.graphs.learned import Edges
from brmrs.graphs.user_items import UserItems

COMPARED_ITEMS = 1000  # evenly spaced items whose cosines give the threshold of the top share
NUMBERS = 2**23  # of cosines or vectors held at once
EDGES = np.linspace(-4, 4, 21)  # of the margins' histogram; the outer bins hold what is beyond

Bools = NDArray[np.bool_]


def set_of_each(ranks: Mapping[str, Tensor], k: int) -> NDArray[np.int64]:
    """(P,) places in `SETS`, by which branches have the held-out item in their first K.

    Args:
        ranks: by branch, (P,).
        k: K.
    """
    text, visual, fused = (ranks[name].numpy() <= k for name in (TEXT, VISUAL, FUSED))
    place = np.full(len(text), SETS.index(NONE))
    place[(text | visual) & ~fused] = SETS.index(DEGENERATION)
    place[fused & ~text & ~visual] = SETS.index(SYNERGY)
    place[fused & text & visual] = SETS.index(BOTH)
    place[fused & text & ~visual] = SETS.index(ONLY_TEXT)
    place[fused & ~text & visual] = SETS.index(ONLY_VISUAL)
    return place


def negatives_above(scan: Scan, held_out: Mapping[int, UserItems]) -> Tensor:
    """(P, K) bool: the items of the fused list that are negatives and rank above the positive.

    Of a positive beyond the first K, these are all negatives of the list. Items that are held out
    for the user, in either part of the split, are no negatives.
    """
    lists = scan.lists[scan.rows]
    users = scan.users[scan.rows].unsqueeze(1)
    place = torch.arange(lists.shape[1])
    above = (place < scan.ranks[FUSED].unsqueeze(1) - 1) & (lists >= 0)
    for items in held_out.values():
        above &= ~items.contain(users, lists)
    return above


def margins(scan: Scan, branch: str) -> tuple[Tensor, Tensor]:
    """Delta of one branch: (P, K) against the items of the fused list, (P, n) against the drawn."""
    positive = scan.scores[branch][:, :1]
    return positive - scan.list_scores[branch][scan.rows], positive - scan.scores[branch][:, 1:]


def quadrants(text: Tensor, visual: Tensor) -> Tensor:
    """Places in `QUADRANTS` of text and visual margins of any shape; a margin of 0 confuses."""
    return 2 * (text <= 0).long() + (visual <= 0).long()


def quadrant_counts(text: Tensor, visual: Tensor, kept: Tensor) -> NDArray[np.float64]:
    """(P, 4) how many of the (P, n) margins that are kept are in each quadrant."""
    place = quadrants(text, visual)
    columns = [((place == q) & kept).sum(dim=1) for q in range(len(QUADRANTS))]
    return torch.stack(columns, dim=1).double().numpy()


def histogram(text: NDArray[np.floating], visual: NDArray[np.floating]) -> NDArray[np.int64]:
    """(20, 20) counts of margins in the bins of `EDGES`, text by row."""
    bins = len(EDGES) - 1
    row, column = (np.digitize(x, EDGES[1:-1]) for x in (text, visual))
    return np.bincount(row * bins + column, minlength=bins * bins).reshape(bins, bins)


@dataclass(frozen=True)
class Cosines:
    """Cosines of the features of both modalities, and the confusable ones.

    Attributes:
        unit: by modality, (I, d) vectors of length 1, zero where not present.
        present: by modality, (I,) bool.
        least: by modality, (I,) the smallest cosine that counts as confusable with the item; NaN
            for items that no pair has.
    """

    unit: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    least: Mapping[str, Tensor]

    @classmethod
    def of(cls, features: Mapping[str, Features], share: float, positives: Tensor) -> "Cosines":
        """Prepare the comparison with these items.

        Args:
            features: of both modalities.
            share: top share of the other items that is confusable.
            positives: (P,) items, repeated or not.
        """
        unit = {m: each.unit for m, each in features.items()}
        present = {m: each.present for m, each in features.items()}
        items = torch.unique(positives)
        least = {m: _least(unit[m], present[m], share, items) for m in features}
        return cls(unit, present, least)

    def comparable(self, positives: Tensor, others: Tensor) -> Tensor:
        """(P, n) bool: both items have both modalities. Others of -1 do not."""
        there = others >= 0
        for mask in self.present.values():
            there = there & mask[positives].unsqueeze(1) & mask[others.clamp(min=0)]
        return there

    def confuse(self, modality: str, positives: Tensor, others: Tensor, kept: Tensor) -> Tensor:
        """(P, n) bool: the modality confuses the other item with the positive; False if not kept.

        Args:
            modality: of the features.
            positives: (P,).
            others: (P, n).
            kept: (P, n) bool, the pairs to compare.
        """
        rows, columns = kept.nonzero(as_tuple=True)
        found = torch.zeros_like(kept)
        cosines = self.pairs(modality, positives[rows], others[rows, columns])
        found[rows, columns] = cosines >= self.least[modality][positives[rows]]
        return found

    def pairs(self, modality: str, items: Tensor, others: Tensor) -> Tensor:
        """(P,) cosines of (P,) items with (P,) others."""
        unit = self.unit[modality]
        size = len(unit)
        pairs, place = torch.unique(items * size + others, return_inverse=True)
        edges = Edges(pairs // size, pairs % size, (size, size))
        return edges.inner(unit, unit)[place]


def _least(unit: Tensor, present: Tensor, share: float, items: Tensor) -> Tensor:
    """(I,) the smallest cosine among the top share of each of some items; NaN elsewhere.

    With more than `COMPARED_ITEMS` items that have the modality, so many of them, evenly spaced,
    stand for all.
    """
    least = torch.full((len(unit),), torch.nan)
    others = present.nonzero().squeeze(1)
    if len(others) < 2:
        return least
    if len(others) > COMPARED_ITEMS:
        others = others[torch.linspace(0, len(others) - 1, COMPARED_ITEMS).long()]
    k = max(1, math.ceil(share * (len(others) - 1)))
    size = max(1, NUMBERS // max(len(others), unit.shape[1]))
    for block in torch.split(items[present[items]], size):
        cosines = unit[block] @ unit[others].T
        cosines[block.unsqueeze(1) == others] = -torch.inf
        least[block] = cosines.topk(k).values[:, -1]
    return least


def exactly_one(confused: Mapping[str, Tensor]) -> Tensor:
    """Where exactly one of the two modalities confuses."""
    first, second = (confused[m] for m in MODALITIES)
    return first ^ second
