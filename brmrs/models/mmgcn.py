"""MMGCN (Wei et al., ACM Multimedia 2019)."""

from functools import reduce
from operator import add

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import leaky_relu_

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection, ObjectiveConfig
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.graphs import bipartite
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import linear, projections, tables, xavier
from brmrs.models.objective import Objective


@register("mmgcn")
class MMGCN(Recommender):
    """Wei et al. 2019, 'MMGCN: Multi-modal Graph Convolution Network ... of Micro-video'.

    Each modality m has a separate user-item graph. Layer 0 holds a free preference of each user and
    the projected features of each item, scaled to length 1. A layer does the same for users and
    items, with N the neighbours and u_id the id embedding:

        h = LeakyReLU(mean_(j in N) W_1 u_j)          aggregation by the mean
        u^ = LeakyReLU(W_2 u + b_2) + u_id            combination with the id
        u' = LeakyReLU(W_3 h + b_3 + u^)              element-wise sum of both

    The representation is u* = sum_m u_m^(L), and the score is <u*, i*>. The loss is BPR plus L2 of
    the ids and preferences of the batch.

    Branches: u_m^(L), the last layer of a modality, before the sum.

    Deviations: the released code can also concatenate h and u^ under W_3; here they are added. It
        projects only the pictures, to 256, and takes the mean over m; here every modality is
        projected
    to d, and the sum is taken. Its ids and preferences are no parameters of its network and stay as
    drawn; here they are trained. An item without modality m starts from 0 in the graph of m and
    gets its representation there from its neighbours and its id.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        layers: int = Field(2, ge=1)
        """L: layers in the graph of each modality."""
        regularization: Weight = 1e-4
        """Weight of the L2 term on the ids and preferences of the batch."""
        objective: ObjectiveConfig = ObjectiveConfig()
        """Weights and settings of the ranking terms of BR-MRS."""

    needs = ("features",)
    user_tables = ("users", "preferences.text", "preferences.visual")
    tables_held = 32

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.modalities = tuple(sorted(data.features))
        self.preferences = tables(self.modalities, data.users, dim, generator)
        self.projections = projections(data.features, dim, generator)
        self.channels = nn.ModuleDict(
            {m: _Channel(config.layers, dim, generator) for m in self.modalities}
        )
        self.data, self.regularization = data, config.regularization
        self.to_users, self.to_items = bipartite.means(
            data.train_users, data.train_items, data.users, data.items
        )
        self.objective = Objective.of(config.objective, self.modalities)
        self.n_negatives = self.objective.drawn
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
        """The branch u_m^(L) of a modality."""
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
        """The last layer: (U, d) users and (I, d) items.

        Args:
            p: (U, d) users at layer 0.
            q: (I, d) items at layer 0.
            ids: (U, d) and (I, d) id embeddings.
            means: (U, I) and (I, U) means over the neighbours.
        """
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
        """The next (n, d) u of (n, d) nodes.

        Args:
            u: (n, d) nodes.
            others: (m, d) nodes of the other side.
            ids: (n, d) u_id.
            means: (n, m) means over the neighbours.
        """
        mean = means @ (others @ self.neighbour)
        combined = leaky_relu_(self.own(u)) + ids
        return leaky_relu_(self.aggregated(leaky_relu_(mean)) + combined)
