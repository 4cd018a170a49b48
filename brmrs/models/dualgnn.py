"""DualGNN (Wang et al., IEEE Transactions on Multimedia 2021)."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from brmrs.columns import FUSED
from brmrs.graphs.co_occurrence import user_graph
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import linear, tables
from brmrs.models.objective import Objective
from brmrs.models.propagation import lightgcn


class DualGNN(Recommender):
    """Wang et al. 2021, 'DualGNN: Dual Graph Neural Network for Multimedia Recommendation'.

    Single-modal representation: per modality m a free embedding of each user and W_2 LeakyReLU(W_1
    x_i^m) of each item, of length 1, summed over LightGCN's layers: p_u^m, q_i^m.
    Multi-modal representation: q_i = sum_m q_i^m; p_u = sum_m a_um p_u^m with a_u the softmax of
    weights that each user learns; then one layer on the user co-occurrence graph, p_u + sum_v
    w_uv p_v, over the `user_k` users with most items in common, w_u their counts' softmax.

    s = <p_u, q_i>; BPR, and L2 on the users' embeddings and weights of the batch.

    Branches: the single-modal representations p^m, q^m.

    Deviations: a user with fewer than `user_k` co-occurring users keeps those (the released code
    repeats random ones); a_u is a softmax throughout, equal to begin with (the released code takes
    one of random weights at the start, and learns them freely from there); an item without m has
    q^m from its users alone.

    Args:
        data: the training split, features of at least one modality.
        seed: of the parameters.
        dim: d.
        layers: of the propagation.
        user_k: neighbours of a user in the co-occurrence graph.
        regularization: of the users' embeddings and weights.
        objective: weights of the ranking terms on s_f and the branches.
    """

    needs = frozenset({"features"})
    user_tables = ("users.text", "users.visual", "attention")
    item_tables = ()
    tables_held = 24

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        dim: int,
        layers: int,
        user_k: int,
        regularization: float,
        objective: Mapping[str, Any],
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.modalities = tuple(sorted(data.features))
        self.users = tables(self.modalities, data.users, dim, generator)
        self.transforms = nn.ModuleDict(
            {
                m: nn.Sequential(
                    linear(data.features[m].shape[1], 4 * dim, generator),
                    nn.LeakyReLU(),
                    linear(4 * dim, dim, generator),
                )
                for m in self.modalities
            }
        )
        self.attention = nn.Parameter(torch.zeros(data.users, len(self.modalities)))
        self.user_graph = user_graph(
            data.train_users, data.train_items, data.users, data.items, user_k
        )
        self.data, self.layers, self.regularization = data, layers, regularization
        self.objective = Objective.of(objective, self.modalities)
        self.negatives = self.objective.drawn
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The objective's terms and L2."""
        terms = self.objective.loss(batch, self.branches(), self.data.present)
        rows = batch.rows([*self.users.values(), self.attention], [])
        terms["l2"] = self.regularization * losses.l2(*rows)
        return terms

    def branches(self) -> dict[str, Branch]:
        """One branch per modality, and the fused one."""
        of = {m: self._single(m) for m in self.modalities}
        shares = torch.split(self.attention.softmax(dim=1), 1, dim=1)
        p = reduce(add, [share * b.p for share, b in zip(shares, of.values(), strict=True)])
        q = reduce(add, [branch.q for branch in of.values()])
        return {FUSED: Branch(p + self.user_graph @ p, q), **of}

    def _single(self, m: str) -> Branch:
        """p^m and q^m."""
        x = self.transforms[m](self.data.features[m]) * self.data.present[m].unsqueeze(1)
        users, items = unit_rows(self.users[m]), unit_rows(x)
        p, q = lightgcn(self.data.user_item, users, items, self.layers)
        return Branch((self.layers + 1) * p, (self.layers + 1) * q)
