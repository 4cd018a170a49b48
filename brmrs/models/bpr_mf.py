"""Matrix factorisation with the pairwise loss that most of the field builds on."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import xavier
from brmrs.models.losses import bpr, l2


@register("bpr-mf")
class BPRMF(Recommender):
    """Rendle et al. 2009, 'BPR: Bayesian Personalized Ranking from Implicit Feedback', BPR-MF.

    The score is s(u, i) = <p_u, q_i> with free embeddings. The loss of a triple is

        -log sigma(s(u, i+) - s(u, i-)) + lambda (|p_u|^2 + |q_i+|^2 + |q_i-|^2) / 2

    averaged over the batch.

    Deviations: no item bias, as in the tables of the literature.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        regularization: Weight = 1e-4
        """lambda: weight of the L2 term over the rows of a batch (`losses.l2`)."""

    user_tables = ("p",)
    item_tables = ("q",)

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.regularization = config.regularization
        self.p = xavier(data.users, config.dim, generator)
        self.q = xavier(data.items, config.dim, generator)
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
