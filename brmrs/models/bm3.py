"""BM3 (Zhou 2023; method/003, 004)."""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import projected
from brmrs.models.initialise import linear, projections, xavier
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
    with 1 these are the terms of method/003. Items that lack m leave its two terms.

    Deviations: features stay as they are, where the released code trains them with the rest. The
    L2 term is `losses.l2` of the batch; the released code's is of the whole tables, their norms and
    not the squares, by the number of items: its lambda is another one.

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
        self.projections = projections(data.features, dim, generator)
        self.data = data
        self.layers, self.dropout = layers, dropout
        self.regularization, self.contrast = regularization, contrast
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruction, alignment, mask and L2 terms.

        All representations go side by side, [u; i; m, ...], through one predictor, one dropout and
        one normalisation: at a batch of 2048, many small operations cost more than their numbers.
        """
        users, items = self._representations()
        h_u, h_i = embedding(batch.users, users), embedding(batch.positives, items)
        modal = [
            projected(batch.positives, self.data.features[m], w)
            for m, w in self.projections.items()
        ]
        h = torch.stack([h_u, h_i, *modal])
        target = self._targets(h, generator)
        online = unit_rows(self.predictor(h))
        # The gradient of a split is one concatenation, that of a slice zeros and a sum.
        ids, modalities = torch.split(online, [2, len(modal)])
        present = [self.data.present[m][batch.positives] for m in self.projections]
        kept = torch.stack(present)
        return {
            "reconstruction": losses.negative_product(ids, target[[1, 0]]),
            "align": self.contrast * losses.negative_product(modalities, target[1], kept),
            "mask": self.contrast * losses.negative_product(modalities, target[2:], kept),
            "l2": self.regularization * losses.l2(h_u, h_i),
        }

    def branches(self) -> dict[str, Branch]:
        """One branch, of the representations behind the predictor."""
        users, items = self._representations()
        return {FUSED: Branch(self.predictor(users), self.predictor(items))}

    def _representations(self) -> tuple[Tensor, Tensor]:
        """(U, d) h_u and (I, d) h_i."""
        users, items = lightgcn(self.data.user_item, self.users, self.items, self.layers)
        return users, items + self.items

    def _targets(self, h: Tensor, generator: torch.Generator) -> Tensor:
        """H . Bernoulli(1 - p) at unit length, without gradient; the cosine undoes any rescaling.

        Four draws of 16 bits from each random integer: drawing is serial, and would be a fifth of
        an epoch with one float for each entry.
        """
        words = torch.empty(-(-h.numel() // 4), dtype=torch.int64, device=h.device)
        draws = words.random_(-(2**63), None, generator=generator).view(torch.int16)
        keep = draws[: h.numel()].view(h.shape) >= int(self.dropout * 2**16) - 2**15
        return unit_rows(h.detach() * keep)
