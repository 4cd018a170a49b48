"""Matrix factorisation with the pairwise loss that most of the field builds on."""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import xavier
from brmrs.models.losses import bpr, l2


class BPRMF(Recommender):
    """Rendle et al. 2009, 'BPR: Bayesian Personalized Ranking from Implicit Feedback', BPR-MF.

    s(u, i) = <p_u, q_i>. Loss: -log sigma(s(u, i+) - s(u, i-)) + regularization *
    |p_u, q_i+, q_i-|^2 / 2, means over the batch. No item bias, as in the field's tables.

    Args:
        data: the sizes alone are used.
        seed: of the Xavier uniform initialisation.
        dim: d.
        regularization: weight of the L2 term.
    """

    user_tables = ("p",)
    item_tables = ("q",)

    def __init__(self, data: TrainingData, *, seed: int, dim: int, regularization: float):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.regularization = regularization
        self.p = xavier(data.users, dim, generator)
        self.q = xavier(data.items, dim, generator)
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The terms "bpr" and "l2"."""
        p, positive = embedding(batch.users, self.p), embedding(batch.positives, self.q)
        negative = embedding(batch.negatives.squeeze(1), self.q)
        ranking = bpr((p * positive).sum(1), (p * negative).sum(1))
        return {"bpr": ranking, "l2": self.regularization * l2(p, positive, negative)}

    def branches(self) -> dict[str, Branch]:
        """One branch, the factors."""
        return {FUSED: Branch(self.p, self.q)}
