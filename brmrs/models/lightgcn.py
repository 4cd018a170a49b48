"""LightGCN (He 2020)."""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import xavier
from brmrs.models.propagation import lightgcn


class LightGCN(Recommender):
    """He et al. 2020, 'LightGCN: Simplifying and Powering Graph Convolution Network'.

    E^(l+1) = D^-1/2 A D^-1/2 E^(l), E = mean over l = 0..L, s = <e_u, e_i>;
    -log sigma(s_ui - s_uj) + lambda |E^(0)|^2 over the rows that the batch looks up (`losses.l2`,
    as in their released code).

    Deviation: embeddings start Xavier uniform; its authors' PyTorch code draws N(0, .1^2).

    Args:
        data: the training split.
        seed: of the embeddings.
        dim: d.
        layers: L.
        regularization: lambda.
    """

    def __init__(
        self, data: TrainingData, *, seed: int, dim: int, layers: int, regularization: float
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.user_item = data.user_item
        self.layers = layers
        self.regularization = regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR, and L2 on layer 0 of the batch's rows."""
        p, q = lightgcn(self.user_item, self.users, self.items, self.layers)
        triples = batch.triples
        scores = (embedding(batch.users, p).unsqueeze(1) * embedding(triples, q)).sum(dim=-1)
        rows = embedding(batch.users, self.users), embedding(triples, self.items)
        return {
            "bpr": losses.bpr(scores[:, 0], scores[:, 1:]),
            "l2": self.regularization * losses.l2(*rows),
        }

    def branches(self) -> dict[str, Branch]:
        """One branch."""
        p, q = lightgcn(self.user_item, self.users, self.items, self.layers)
        return {FUSED: Branch(p, q)}
