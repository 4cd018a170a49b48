"""Most popular: the baseline without personalisation."""

import torch
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.extensions import register
from brmrs.models.base import Batch, Branch, Recommender, TrainingData


def popularity(train_items: Tensor, users: int, items: int) -> Branch:
    """s(u, i) = number of training interactions of i: p_u = 1, q_i = the count.

    Args:
        train_items: (N,) int64, one entry per training interaction.
        users: U.
        items: I.
    """
    counts = torch.bincount(train_items, minlength=items).float()
    return Branch(p=counts.new_ones(users, 1), q=counts.unsqueeze(1))


@register("most-popular")
class MostPopular(Recommender):
    """Items by their number of training interactions, the same for every user."""

    trainable = False

    def __init__(self, data: TrainingData, config: ModelSection, *, seed: int):
        super().__init__()
        self._branch = popularity(data.train_items, data.users, data.items)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing to learn."""
        raise NotImplementedError("most-popular has no loss; it is complete once constructed")

    def branches(self) -> dict[str, Branch]:
        """The counts."""
        return {FUSED: self._branch}
