"""MMGCN (Wei et al., ACM Multimedia 2019)."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu_

from brmrs.columns import FUSED
from brmrs.graphs import bipartite
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import linear, projections, tables, xavier
from brmrs.models.objective import Objective


class MMGCN(Recommender):
    """Wei et al. 2019, 'MMGCN: Multi-modal Graph Convolution Network ... of Micro-video'.

    Each modality m has a user-item graph of its own. Layer 0: a free preference of each user and
    the projected features of each item, scaled to length 1. A layer, for users and items alike:

        h = LeakyReLU(mean_(j in N) W_1 u_j)          aggregation layer, by the mean
        u^ = LeakyReLU(W_2 u + b_2) + u_id            combination layer, with the id
        u' = LeakyReLU(W_3 h + b_3 + u^)              of both, element-wise

    u* = sum_m u_m^(L), s = <u*, i*>; BPR, and L2 on the ids and preferences of the batch.

    Branches: a modality's last layer, u_m^(L), before the sum.

    Deviations: of the released code's two ways to combine, the other puts h and u^ side by side
    under W_3. Every modality is projected to d; the released code projects the pictures alone, to
    256, and lets the first layer reach d. It takes the mean over m where the sum is here, and its
    ids and preferences stay as drawn, as they are no parameters of its network; here they learn. An
    item without m starts from 0 in its graph and learns there from its neighbours and its id.

    Args:
        data: the training split, features of at least one modality.
        seed: of the parameters.
        dim: d.
        layers: L.
        regularization: of ids and preferences.
        objective: weights of the ranking terms on s_f and the branches.
    """

    needs = frozenset({"features"})
    user_tables = ("users", "preferences.text", "preferences.visual")
    tables_held = 32

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        dim: int,
        layers: int,
        regularization: float,
        objective: Mapping[str, Any],
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.modalities = tuple(sorted(data.features))
        self.preferences = tables(self.modalities, data.users, dim, generator)
        self.projections = projections(data.features, dim, generator)
        self.channels = nn.ModuleDict(
            {m: _Channel(layers, dim, generator) for m in self.modalities}
        )
        self.data, self.regularization = data, regularization
        self.to_users, self.to_items = bipartite.means(
            data.train_users, data.train_items, data.users, data.items
        )
        self.objective = Objective.of(objective, self.modalities)
        self.negatives = self.objective.drawn
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The objective's terms and L2."""
        terms = self.objective.loss(batch, self.branches(), self.data.present)
        rows = batch.rows([self.users, *self.preferences.values()], [self.items])
        terms["l2"] = self.regularization * losses.l2(*rows)
        return terms

    def branches(self) -> dict[str, Branch]:
        """One branch per modality, and their sum."""
        of = {m: self._of_modality(m) for m in self.modalities}
        p, q = (reduce(add, [getattr(branch, side) for branch in of.values()]) for side in "pq")
        return {FUSED: Branch(p, q), **of}

    def _of_modality(self, m: str) -> Branch:
        """u_m^(L) of users and items."""
        x = self.projections[m](self.data.features[m])
        p = unit_rows(self.preferences[m])
        q = unit_rows(x * self.data.present[m].unsqueeze(1))
        ids, means = (self.users, self.items), (self.to_users, self.to_items)
        return Branch(*self.channels[m](p, q, ids, means))


class _Channel(nn.Module):
    """The layers of one modality."""

    def __init__(self, layers: int, dim: int, generator: torch.Generator):
        super().__init__()
        self.layers = nn.ModuleList([_Layer(dim, generator) for _ in range(layers)])

    def forward(
        self,
        p: Tensor,
        q: Tensor,
        ids: tuple[Tensor, Tensor],
        means: tuple[SparseMatrix, SparseMatrix],
    ) -> tuple[Tensor, Tensor]:
        """(U, d) users and (I, d) items, their ids, the means over their neighbours: the last."""
        for layer in self.layers:
            p, q = layer(p, q, ids[0], means[0]), layer(q, p, ids[1], means[1])
        return p, q


class _Layer(nn.Module):
    """Aggregation and combination, see `MMGCN`."""

    def __init__(self, dim: int, generator: torch.Generator):
        super().__init__()
        self.neighbour = xavier(dim, dim, generator)
        self.own = linear(dim, dim, generator)
        self.aggregated = linear(dim, dim, generator)

    def forward(self, u: Tensor, others: Tensor, ids: Tensor, means: SparseMatrix) -> Tensor:
        """(n, d) nodes, (m, d) the other side, (n, d) u_id, (n, m) means of neighbours: next u."""
        mean = means @ (others @ self.neighbour)
        combined = leaky_relu_(self.own(u)) + ids
        return leaky_relu_(self.aggregated(leaky_relu_(mean)) + combined)
