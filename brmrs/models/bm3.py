"""BM3 (Zhou 2023; method/003, 004)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs import losses
from brmrs.columns import FUSED
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import linear, xavier
from brmrs.models.propagation import lightgcn


class BM3(Recommender):
    """Zhou et al. 2023, 'Bootstrap Latent Representations for Multi-modal Recommendation'.

    h_u, h_i: LightGCN's means over the layers, h_i plus the item's own embedding (the residual);
    h_m^i = W_m x_i^m + b_m. One linear predictor gives the online h~ of each; the targets h. are
    h . Bernoulli(1 - p), without gradient. With C the negative cosine:

        L = C(h~_u, h._i) + C(h~_i, h._u)                            reconstruction
          + contrast sum_m [C(h~_m^i, h._i) + C(h~_m^i, h._m^i)]     alignment and mask
          + lambda (|h_u|^2 + |h_i|^2)

    Without negatives. Ranks by <h~_u, h~_i>. The contrast weight is the released code's (its 2.0);
    with 1 this is method/003 to the letter. Items that lack m leave its two terms.

    Args:
        data: the training split with features of at least one modality.
        seed: of the parameters.
        dim: d.
        layers: of LightGCN.
        dropout: p, of the targets.
        regularization: lambda, over the batch's rows.
        contrast: weight of the alignment and mask terms.
    """

    needs = frozenset({"features"})
    negatives = 0

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        dim: int,
        layers: int,
        dropout: float,
        regularization: float,
        contrast: float,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.predictor = linear(dim, dim, generator)
        self.projections = nn.ModuleDict(
            {m: linear(x.shape[1], dim, generator) for m, x in sorted(data.features.items())}
        )
        self.data = data
        self.layers, self.dropout = layers, dropout
        self.regularization, self.contrast = regularization, contrast
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruction, alignment, mask and L2 terms."""
        users, items = self._representations()
        h_u, h_i = embedding(batch.users, users), embedding(batch.positives, items)
        target_u, target_i = self._target(h_u, generator), self._target(h_i, generator)
        terms = {
            "reconstruction": losses.negative_cosine(self.predictor(h_u), target_i)
            + losses.negative_cosine(self.predictor(h_i), target_u),
            "align": h_i.new_zeros(()),
            "mask": h_i.new_zeros(()),
            "l2": self.regularization * losses.l2(h_u, h_i),
        }
        for m, projection in self.projections.items():
            h_m = projection(self.data.features[m][batch.positives])
            present = self.data.present[m][batch.positives]
            online, target_m = self.predictor(h_m), self._target(h_m, generator)
            align = losses.negative_cosine(online, target_i, present)
            mask = losses.negative_cosine(online, target_m, present)
            terms["align"] = terms["align"] + self.contrast * align
            terms["mask"] = terms["mask"] + self.contrast * mask
        return terms

    def branches(self) -> dict[str, Branch]:
        """One branch, of the representations behind the predictor."""
        users, items = self._representations()
        return {FUSED: Branch(self.predictor(users), self.predictor(items))}

    def _representations(self) -> tuple[Tensor, Tensor]:
        """(U, d) h_u and (I, d) h_i."""
        users, items = lightgcn(self.data.user_item, self.users, self.items, self.layers)
        return users, items + self.items

    def _target(self, h: Tensor, generator: torch.Generator) -> Tensor:
        """H . Bernoulli(1 - p), without gradient; the cosine makes any rescaling idle."""
        h = h.detach()
        keep = torch.rand(h.shape, generator=generator, device=h.device) >= self.dropout
        return h * keep
