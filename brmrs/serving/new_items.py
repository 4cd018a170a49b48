"""Scores of items without training interactions, from their features alone, for every model.

A new item is placed by its features: its score is the mean of the scores of the known items that
are nearest to it, weighted by their cosines. For a model with s(u, i) = <p_u, q_i> that equals
placing the item at the weighted mean of its neighbours' q.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from brmrs.errors import UserError
from brmrs.graphs.top_k import best
from brmrs.models.base import Scorer

NEIGHBOURS = 10
BLOCK_SCORES = 2**22  # scores of neighbours held at once; bounds memory, not the result


@dataclass(frozen=True)
class Placed(Scorer):
    """A scorer whose scores of some items are weighted means of other items' scores.

    Attributes:
        known: gives the scores of all other items.
        new: (C,) int64 items to place.
        neighbours: (C, K) int64 known items.
        weights: (C, K), of each row with sum 1.
    """

    known: Scorer
    new: Tensor
    neighbours: Tensor
    weights: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(U, I)."""
        return self.known.shape

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores."""
        scores = self.known.scores(users)
        size = max(1, BLOCK_SCORES // max(1, len(users) * self.neighbours.shape[1]))
        blocks = (torch.split(x, size) for x in (self.new, self.neighbours, self.weights))
        for new, neighbours, weights in zip(*blocks, strict=True):
            scores[:, new] = (scores[:, neighbours] * weights).sum(dim=2)
        return scores

    def similarities(self, item: int) -> Tensor:
        """(I,) of a known item those of the scorer; of a new one the mean of its neighbours'."""
        place = (self.new == item).nonzero().flatten().tolist()
        if not place:
            return self._placed(self.known.similarities(item))
        likeness = torch.stack(
            [self.known.similarities(each) for each in self.neighbours[place[0]].tolist()]
        )
        return self._placed((self.weights[place[0]].unsqueeze(1) * likeness).sum(dim=0))

    def _placed(self, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[self.new] = (scores[self.neighbours] * self.weights).sum(dim=1)
        return scores


def place(
    scorer: Scorer,
    features: Mapping[str, tuple[Tensor, Tensor]],
    known: Tensor,
    neighbours: int = NEIGHBOURS,
) -> Placed:
    """The scorer with its items that are not known placed by their features.

    Args:
        scorer: of I items; its scores of items that are not known are not used.
        features: by modality (I, d) vectors and the (I,) mask of the items that have one.
        known: (I,) bool, the items with training interactions.
        neighbours: K, the known items that count for each new one.

    Returns:
        The placed scorer. A new item without any neighbour of positive cosine, such as one without
        features, gets the mean score of the K known items of the lowest ids.

    Raises:
        UserError: no item is known.
    """
    if not bool(known.any()):
        raise UserError("no item has training interactions, so new items have no neighbours")
    old, new = known.nonzero().squeeze(1), (~known).nonzero().squeeze(1)
    parts = [
        normalize(x.float() * present.unsqueeze(1), dim=1) / len(features) ** 0.5
        for x, present in features.values()
    ]
    x = torch.cat(parts, dim=1)
    size = max(1, BLOCK_SCORES // len(old))
    found = [
        best((x[block] @ x[old].T).clamp(min=0), neighbours) for block in torch.split(new, size)
    ]
    if not found:
        nobody = new.new_zeros(0, 1)
        return Placed(scorer, new, nobody, nobody.float())
    cosines, places = (torch.cat(part) for part in zip(*found, strict=True))
    cosines[cosines.sum(dim=1) == 0] = 1
    weights = cosines / cosines.sum(dim=1, keepdim=True)
    return Placed(scorer, new, old[places], weights)
