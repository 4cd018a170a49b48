"""BUIR (Lee 2021)."""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.graphs import bipartite
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import linear, xavier
from brmrs.models.propagation import lightgcn


class BUIR(Recommender):
    """Lee et al. 2021, 'Bootstrapping User and Item Representations for One-Class CF', BUIR_nb.

    An online encoder f and a target encoder f', both LightGCN over id embeddings, and a linear
    predictor h on the online side. Each side's prediction has to meet the other side's target:

        L = |n(h(f(u))) - n(f'(i))|^2 + |n(h(f(i))) - n(f'(u))|^2,  n(x) = x / |x|

    without a gradient into f', whose embeddings follow those of f: xi <- tau xi + (1 - tau) theta
    after every step. No negatives. s(u, i) = <h(f(u)), f(i)> + <f(u), h(f(i))>.

    Where this is not the paper: each encoder sees its own random share of every neighbourhood
    (the paper's augmentation), drawn once an epoch, not once a step. The released code draws the
    share itself, too, up to .2, and scales what is left up, where here the graph is normalised
    anew; its Adam decays the weights by 1e-4, which has no place here.

    Args:
        data: the training split.
        seed: of the parameters.
        dim: d.
        layers: of LightGCN; 0 is BUIR_id.
        momentum: tau.
        edge_dropout: share of the interactions that an encoder does not see in an epoch.
    """

    negatives = 0
    user_tables = ("users", "target_users")
    item_tables = ("items", "target_items")

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        dim: int,
        layers: int,
        momentum: float,
        edge_dropout: float,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.predictor = linear(dim, dim, generator)
        self.target_users: Tensor
        self.target_items: Tensor
        self.register_buffer("target_users", self.users.detach().clone())
        self.register_buffer("target_items", self.items.detach().clone())
        self.data = data
        self.layers, self.momentum, self.edge_dropout = layers, momentum, edge_dropout
        self.views = data.user_item, data.user_item  # of the online and the target encoder
        self.to(data.device)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw what each encoder sees."""
        if self.edge_dropout > 0:
            self.views = self._view(generator), self._view(generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """What the user and what the item predicts; moves the target by the step before."""
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
        # At the start of a step instead of the end of the one before: the first one moves nothing.
        self.target_users.lerp_(self.users, 1 - self.momentum)
        self.target_items.lerp_(self.items, 1 - self.momentum)
        return self.target_users, self.target_items

    def _view(self, generator: torch.Generator) -> SparseMatrix:
        users, items = self.data.train_users, self.data.train_items
        drawn = torch.rand(len(users), generator=generator, device=users.device)
        kept = drawn >= self.edge_dropout
        return bipartite.normalised(users[kept], items[kept], self.data.users, self.data.items)
