"""DeepStyle (Liu 2017)."""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding, linear

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import projected, side_by_side
from brmrs.models.initialise import xavier


@register("deepstyle")
class DeepStyle(Recommender):
    """Liu, Wu and Wang 2017, 'DeepStyle: Learning User Preferences for Visual Recommendation'.

    The style of an item is the part of its features that does not follow from its category, with
    l_c the embedding of category c:

        style_i = E x_i - l_c(i),  s(u, i) = <p_u, style_i + q_i>

    The loss is BPR plus lambda |p_u, q_i, q_j, l_c(i), l_c(j)|^2.

    Deviations: x_i holds the unit-length features of every modality side by side; the paper has
        only pictures. E is not regularised. The category is the most specific one of the item's
        path.
    Data without categories (ready-made data sets) have one l for all items; it cancels in every
    comparison, and the model reduces to projected features beside the ids.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        regularization: Weight = 1e-2
        """lambda: weight of the L2 term over the rows of a batch (`losses.l2`)."""

    needs = ("features",)

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        categories = data.categories
        if categories is None:
            categories = torch.zeros(data.items, dtype=torch.long, device=data.device)
        self.category = categories
        self.features = side_by_side(data.features)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.categories = xavier(int(self.category.max()) + 1, dim, generator)  # l
        self.projection = xavier(self.features.shape[1], dim, generator)  # E, transposed
        self.regularization = config.regularization
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
