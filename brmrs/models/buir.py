"""BUIR (Lee 2021)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Rate
from brmrs.extensions import register
from brmrs.graphs import bipartite
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import linear, xavier
from brmrs.models.propagation import lightgcn


@register("buir")
class BUIR(Recommender):
    """Lee et al. 2021, 'Bootstrapping User and Item Representations for One-Class CF', BUIR_nb.

    An online encoder f and a target encoder f' are both LightGCN over id embeddings. A linear
    predictor h follows the online encoder. The prediction of each side must match the target of
    the other side, with n(x) = x / |x|:

        L = |n(h(f(u))) - n(f'(i))|^2 + |n(h(f(i))) - n(f'(u))|^2

    f' gets no gradient; after every step its embeddings move towards those of f:
    xi <- tau xi + (1 - tau) theta. The model draws no negatives. It ranks by
    s(u, i) = <h(f(u)), f(i)> + <f(u), h(f(i))>.

    Deviations: each encoder sees a random share of the interactions (the paper's augmentation) that
    is drawn once per epoch; the paper draws it at every step. The released code also draws the
    share itself, up to 0.2, and rescales the rest; here the graph is normalised again. The
    released code's Adam decays the weights by 1e-4; here nothing decays.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        layers: int = Field(3, ge=0)
        """LightGCN propagation steps; 0 is BUIR_id."""
        momentum: Rate = 0.995
        """tau: how much of the target encoder each step keeps."""
        edge_dropout: Rate = 0.2
        """Share of the interactions that an encoder does not see in an epoch."""

    n_negatives = 0
    user_tables = ("users", "target_users")
    item_tables = ("items", "target_items")

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.predictor = linear(dim, dim, generator)
        self.target_users: Tensor
        self.target_items: Tensor
        self.register_buffer("target_users", self.users.detach().clone())
        self.register_buffer("target_items", self.items.detach().clone())
        self.data = data
        self.layers, self.momentum = config.layers, config.momentum
        self.edge_dropout = config.edge_dropout
        self.views = data.user_item, data.user_item  # of the online and the target encoder
        self.to(data.device)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the interactions that each encoder sees."""
        if self.edge_dropout > 0:
            self.views = self._view(generator), self._view(generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The user's and the item's prediction loss; first updates the target encoder."""
        targets = self._moved_targets()
        users, items = lightgcn(self.views[0], self.users, self.items, self.layers)
        target_users, target_items = lightgcn(self.views[1], *targets, self.layers)
        f_u, f_i = embedding(batch.users, users), embedding(batch.positives, items)
        target_u, target_i = target_users[batch.users], target_items[batch.positives]
        return {
            "user": 2 + 2 * losses.negative_cosine(self.predictor(f_u), target_i),
            "item": 2 + 2 * losses.negative_cosine(self.predictor(f_i), target_u),
        }

    def branches(self) -> dict[str, Branch]:
        """One branch: [h(f(u)); f(u)] and [f(i); h(f(i))]."""
        users, items = lightgcn(self.data.user_item, self.users, self.items, self.layers)
        p = torch.cat([self.predictor(users), users], dim=1)
        return {FUSED: Branch(p, torch.cat([items, self.predictor(items)], dim=1))}

    @torch.no_grad()
    def _moved_targets(self) -> tuple[Tensor, Tensor]:
        # At the start of a step, not at the end of the previous one: the first has no effect.
        self.target_users.lerp_(self.users, 1 - self.momentum)
        self.target_items.lerp_(self.items, 1 - self.momentum)
        return self.target_users, self.target_items

    def _view(self, generator: torch.Generator) -> SparseMatrix:
        users, items = self.data.train_users, self.data.train_items
        drawn = torch.rand(len(users), generator=generator, device=users.device)
        kept = drawn >= self.edge_dropout
        return bipartite.normalised(users[kept], items[kept], self.data.users, self.data.items)
