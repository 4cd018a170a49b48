"""Nearest neighbours by features: a simple baseline that also scores items nobody has bought."""

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.extensions import register
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.item_knn import history, interactions
from brmrs.models.scorers import ItemNeighbours

BLOCK_SCORES = 2**24  # cosines computed at once; bounds memory, not the result


@register("content-knn")
class ContentKNN(Recommender):
    """Lops et al. 2011, 'Content-based Recommender Systems: State of the Art and Trends'.

    The score of a candidate i is the sum of c_ij over the user's items j that are among the k items
    nearest to i, of those with training interactions. c_ij is the mean over the modalities of the
    cosine of the features; a modality that an item lacks counts 0. Negative c_ij are left out.

    Nothing is trained. Items without training interactions are scored like all others.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        neighbours: int = Field(50, gt=0)
        """k: nearest items kept of each item."""

    needs = ("features",)
    trainable = False

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        x = torch.cat([unit_rows(features) for features in data.features.values()], dim=1)
        x = x.float() / len(data.features) ** 0.5
        bought = torch.unique(data.train_items)
        blocks = zip(*_nearest(x, bought, config.neighbours), strict=True)
        candidates, others, values = (torch.cat(list(part)) for part in blocks)
        # Row j holds the cosines of j to the candidates that have j among their nearest.
        order = torch.argsort(others * data.items + candidates)
        counts = torch.bincount(others, minlength=data.items)
        self._scorer = ItemNeighbours(
            *history(interactions(data), data.device),
            indptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            columns=candidates[order],
            weights=values[order],
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing to learn."""
        raise NotImplementedError("content-knn has no loss; it is complete once constructed")

    def branches(self) -> dict[str, ItemNeighbours]:
        """One branch."""
        return {FUSED: self._scorer}


def _nearest(x: Tensor, bought: Tensor, k: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Blocks of (item, one of its k nearest bought others, cosine above 0).

    Args:
        x: (I, d), of which inner products are cosines.
        bought: (B,) items that may be neighbours.
        k: neighbours of each item.
    """
    for items in torch.split(torch.arange(len(x), device=x.device), BLOCK_SCORES // len(bought)):
        cosines = x[items] @ x[bought].T
        cosines[items.unsqueeze(1) == bought] = -torch.inf
        values, places = cosines.topk(min(k, len(bought)))
        kept = values > 0
        yield items.unsqueeze(1).expand_as(places)[kept], bought[places[kept]], values[kept]
