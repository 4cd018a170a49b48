"""LightGCN (He 2020)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import xavier
from brmrs.models.propagation import lightgcn


@register("lightgcn")
class LightGCN(Recommender):
    """He et al. 2020, 'LightGCN: Simplifying and Powering Graph Convolution Network'.

    Embeddings propagate over the user-item graph without weights or non-linearities:

        E^(l+1) = D^-1/2 A D^-1/2 E^(l),  E = mean over l = 0..L,  s(u, i) = <e_u, e_i>

    The loss is BPR plus lambda times the squared norm of the layer-0 rows of the batch.

    Deviations: embeddings start Xavier uniform; the authors' PyTorch code draws N(0, 0.1^2).
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

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.columns = data.columns
        self.users = xavier(data.users, config.dim, generator, data.columns)
        self.items = xavier(data.items, config.dim, generator, data.columns)
        self.user_item = data.user_item
        self.layers = config.layers
        self.regularization = config.regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR, and L2 on layer 0 of the batch's rows."""
        p, q = lightgcn(self.user_item, self.users, self.items, self.layers)
        triples = batch.triples
        scores = (embedding(batch.users, p).unsqueeze(1) * embedding(triples, q)).sum(dim=-1)
        rows = embedding(batch.users, self.users), embedding(triples, self.items)
        scores, l2 = self.columns.sums(scores, losses.l2(*rows))
        return {
            "bpr": losses.bpr(scores[:, 0], scores[:, 1:]),
            "l2": self.regularization * l2,
        }

    def branches(self) -> dict[str, Branch]:
        """One branch."""
        p, q = lightgcn(self.user_item, self.users, self.items, self.layers)
        return {FUSED: Branch(p, q)}
