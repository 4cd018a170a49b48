"""DeepStyle (Liu 2017)."""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from brmrs.columns import FUSED
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import projected, side_by_side
from brmrs.models.initialise import xavier


class DeepStyle(Recommender):
    """Liu, Wu and Wang 2017, 'DeepStyle: Learning User Preferences for Visual Recommendation'.

    What an item's picture shows beyond its category is its style:

        style_i = E x_i - l_c(i),  s(u, i) = <p_u, style_i + q_i>

    and -log sigma(s_ui - s_uj) + lambda |p_u, q_i, q_j, l_c(i), l_c(j)|^2.

    Where this is not the paper: x_i holds the unit-length features of every modality side by side;
    the paper had pictures alone. E is not regularised. The category is the most specific one of the
    item's path. Where the data have no categories (a ready-made benchmark), l is one vector for all
    items, cancels in every comparison, and nothing of the style is left but the projected features.

    Args:
        data: the training split with features of at least one modality, and the categories.
        seed: of the parameters.
        dim: d.
        regularization: lambda, over the batch's rows.
    """

    needs = frozenset({"features"})

    def __init__(self, data: TrainingData, *, seed: int, dim: int, regularization: float):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        categories = data.categories
        if categories is None:
            categories = torch.zeros(data.items, dtype=torch.long, device=data.device)
        self.category = categories
        self.features = side_by_side(data.features)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.categories = xavier(int(self.category.max()) + 1, dim, generator)  # l
        self.projection = xavier(self.features.shape[1], dim, generator)  # E, transposed
        self.regularization = regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR, and L2 over the batch's rows."""
        pairs = batch.triples
        p, q = embedding(batch.users, self.users), embedding(pairs, self.items)
        of_category = embedding(self.category[pairs], self.categories)
        w = partial(linear, weight=self.projection.T)
        style = projected(pairs, self.features, w) - of_category
        scores = (p.unsqueeze(1) * (style + q)).sum(dim=-1)
        return {
            "bpr": losses.bpr(scores[:, 0], scores[:, 1:]),
            "l2": self.regularization * losses.l2(p, q, of_category),
        }

    def branches(self) -> dict[str, Branch]:
        """One branch: p and style + q."""
        style = self.features @ self.projection - self.categories[self.category]
        return {FUSED: Branch(self.users, style + self.items)}
