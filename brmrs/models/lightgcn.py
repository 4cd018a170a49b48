"""LightGCN (He 2020)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.graphs.sampled import NodeGraph
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import xavier
from brmrs.models.neighbourhood import Seeds, read, sampled_mean, sizes_of, split_nodes
from brmrs.models.propagation import lightgcn


@register("lightgcn")
class LightGCN(Recommender):
    """He et al. 2020, 'LightGCN: Simplifying and Powering Graph Convolution Network'.

    Embeddings propagate over the user-item graph without weights or non-linearities:

        E^(l+1) = D^-1/2 A D^-1/2 E^(l),  E = mean over l = 0..L,  s(u, i) = <e_u, e_i>

    The loss is BPR plus lambda times the squared norm of the layer-0 rows of the batch.

    Deviations: embeddings start Xavier uniform; the authors' PyTorch code draws N(0, 0.1^2). With
    `train.sampled_neighbours`, a step propagates over a sample of the graph and Adam is lazy
    (`brmrs.models.neighbourhood`, `brmrs.training.row_adam`).
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        layers: int = Field(3, ge=0)
        """L: propagation steps over the user-item graph."""
        regularization: Weight = 1e-4
        """lambda: weight of the L2 term over the rows of a batch (`losses.l2`)."""

    by_dimension = True
    can_sample = True

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.columns = data.columns
        self.users = xavier(data.users, config.dim, generator, data.columns)
        self.items = xavier(data.items, config.dim, generator, data.columns)
        self.user_item = data.user_item
        self.layers = config.layers
        self.sampled_neighbours = data.sampled_neighbours
        self.regularization = config.regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR, and L2 on layer 0 of the batch's rows."""
        rows = self._sampled(batch, generator) if self.sampled_neighbours else self._whole(batch)
        (p, q), layer_zero = rows
        scores = (p.unsqueeze(1) * q).sum(dim=-1)
        scores, l2 = self.columns.sums(scores, losses.l2(*layer_zero))
        return {
            "bpr": losses.bpr(scores[:, 0], scores[:, 1:]),
            "l2": self.regularization * l2,
        }

    def _whole(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(B, d) users and (B, 1 + n, d) items, propagated over the whole graph, and layer 0."""
        users, triples = batch.users, batch.triples
        p, q = lightgcn(self.user_item, self.users, self.items, self.layers)
        layer_zero = embedding(users, self.users), embedding(triples, self.items)
        return (embedding(users, p), embedding(triples, q)), layer_zero

    def _sampled(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The same from sampled neighbours."""
        n_users = self.user_item.shape[0]
        seeds = Seeds.of(batch, n_users)
        sizes = sizes_of(self.sampled_neighbours, 0, self.layers)
        mean = sampled_mean(NodeGraph.user_item(self.user_item), seeds.nodes, sizes, generator)
        users, items = split_nodes(mean.nodes, n_users)
        x = torch.cat([read(self.users, users), read(self.items, items)])
        return seeds.rows(mean(x)), seeds.rows(mean.own(x))

    def branches(self) -> dict[str, Branch]:
        """One branch."""
        p, q = lightgcn(self.user_item, self.users, self.items, self.layers)
        return {FUSED: Branch(p, q)}
