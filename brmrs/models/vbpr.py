"""VBPR (He, McAuley 2016)."""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import projected, side_by_side
from brmrs.models.initialise import xavier


@register("vbpr")
class VBPR(Recommender):
    """He and McAuley 2016, 'VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback'.

    A user has two embeddings: p_u for the ids and theta_u for the features x_i.

        s(u, i) = <p_u, q_i> + <theta_u, E x_i> + b_i + <beta, x_i>

    The loss is BPR plus lambda |p_u, theta_u, q_i, q_j, b_i, b_j|^2.

    Deviations: x_i holds the unit-length features of every modality side by side, as in the tables
    of the literature; the paper has only pictures. One lambda serves all terms; E and beta are not
    regularised. MMRec's VBPR leaves b and beta out.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of the id embeddings, and also of the feature part."""
        regularization: Weight = 1e-2
        """lambda: weight of the L2 term over the rows of a batch (`losses.l2`)."""

    needs = ("features",)
    user_tables = ("users", "tastes")
    item_tables = ("items", "item_bias")

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.features = side_by_side(data.features)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.tastes = xavier(data.users, dim, generator)  # theta
        self.projection = xavier(self.features.shape[1], dim, generator)  # E, transposed
        self.item_bias = nn.Parameter(torch.zeros(data.items, 1))  # b
        self.feature_bias = nn.Parameter(torch.zeros(self.features.shape[1], 1))  # beta
        self.regularization = config.regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR, and L2 over the batch's rows."""
        pairs = batch.triples
        p, theta = embedding(batch.users, self.users), embedding(batch.users, self.tastes)
        q, bias = embedding(pairs, self.items), embedding(pairs, self.item_bias)
        w = partial(linear, weight=torch.cat([self.projection, self.feature_bias], dim=1).T)
        x = projected(pairs, self.features, w)  # E x and <beta, x>
        scores = (p.unsqueeze(1) * q).sum(dim=-1)
        scores = scores + (theta.unsqueeze(1) * x[..., :-1]).sum(dim=-1)
        scores = scores + bias.squeeze(-1) + x[..., -1]
        return {
            "bpr": losses.bpr(scores[:, 0], scores[:, 1:]),
            "l2": self.regularization * losses.l2(p, theta, q, bias),
        }

    def branches(self) -> dict[str, Branch]:
        """One branch: [p; theta; 1] and [q; E x; b + <beta, x>]."""
        bias = self.item_bias + self.features @ self.feature_bias
        q = torch.cat([self.items, self.features @ self.projection, bias], dim=1)
        one = self.users.new_ones(len(self.users), 1)
        return {FUSED: Branch(torch.cat([self.users, self.tastes, one], dim=1), q)}
