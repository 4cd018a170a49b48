"""VBPR (He, McAuley 2016)."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from brmrs.columns import FUSED
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import projected, side_by_side
from brmrs.models.initialise import xavier


class VBPR(Recommender):
    """He and McAuley 2016, 'VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback'.

    s(u, i) = <p_u, q_i> + <theta_u, E x_i> + b_i + <beta, x_i> (without what is the same for all
    items), -log sigma(s_ui - s_uj) + lambda |p_u, theta_u, q_i, q_j, b_i, b_j|^2.

    Where this is not the paper: x_i holds the unit-length features of every modality side by side,
    as in the field's tables; the paper had pictures alone. One lambda for all, none for E and beta.
    MMRec's VBPR leaves b and beta out.

    Args:
        data: the training split with features of at least one modality.
        seed: of the parameters.
        dim: of p, q, and likewise of theta.
        regularization: lambda, over the batch's rows.
    """

    needs = frozenset({"features"})
    user_tables = ("users", "tastes")
    item_tables = ("items", "item_bias")

    def __init__(self, data: TrainingData, *, seed: int, dim: int, regularization: float):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.features = side_by_side(data.features)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.tastes = xavier(data.users, dim, generator)  # theta
        self.projection = xavier(self.features.shape[1], dim, generator)  # E, transposed
        self.item_bias = nn.Parameter(torch.zeros(data.items, 1))  # b
        self.feature_bias = nn.Parameter(torch.zeros(self.features.shape[1], 1))  # beta
        self.regularization = regularization
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
