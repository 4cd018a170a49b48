"""DualGNN (Wang et al., IEEE Transactions on Multimedia 2021)."""

from functools import reduce
from operator import add

import torch
from pydantic import Field
from torch import Tensor, nn

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection, ObjectiveConfig
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.graphs.co_occurrence import user_graph
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import linear, tables
from brmrs.models.objective import Objective
from brmrs.models.propagation import lightgcn


@register("dualgnn")
class DualGNN(Recommender):
    """Wang et al. 2021, 'DualGNN: Dual Graph Neural Network for Multimedia Recommendation'.

    Single-modal representations p_u^m and q_i^m: a user has a free embedding per modality m, an
    item has W_2 LeakyReLU(W_1 x_i^m); both have length 1, and LightGCN's layers are summed.

    Multi-modal representations: q_i = sum_m q_i^m, and p_u = sum_m a_um p_u^m with a_u the softmax
    of learned weights per user. One layer over the user co-occurrence graph follows: p_u + sum_v
    w_uv p_v over the `user_k` users with most items in common, with w_u the softmax of these
    counts. The score is <p_u, q_i>. The loss is BPR plus L2 of the users' embeddings and weights of
    the batch.

    Branches: the single-modal representations p^m, q^m.

    Deviations: a user with fewer than `user_k` co-occurring users keeps these; the released code
    repeats random ones. a_u is always a softmax and starts equal; the released code takes the
    softmax of random weights once and trains the result without constraint. An item without
    modality m gets
    q^m only from its users.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        layers: int = Field(2, ge=0)
        """Propagation steps over the user-item graph."""
        user_k: int = Field(40, gt=0)
        """Neighbours of a user in the co-occurrence graph."""
        regularization: Weight = 1e-4
        """Weight of the L2 term on the users' embeddings and weights of the batch."""
        objective: ObjectiveConfig = ObjectiveConfig()
        """Weights and settings of the ranking terms of BR-MRS."""

    needs = ("features",)
    user_tables = ("users.text", "users.visual", "attention")
    item_tables = ()
    tables_held = 24

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
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
            data.train_users, data.train_items, data.users, data.items, config.user_k
        )
        self.data, self.layers = data, config.layers
        self.regularization = config.regularization
        self.objective = Objective.of(config.objective, self.modalities)
        self.n_negatives = self.objective.drawn
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
