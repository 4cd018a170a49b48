"""BM3 (Zhou 2023; method/003, 004)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Rate, Weight
from brmrs.extensions import register
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import projected
from brmrs.models.initialise import linear, projections, xavier
from brmrs.models.propagation import lightgcn


@register("bm3")
class BM3(Recommender):
    """Zhou et al. 2023, 'Bootstrap Latent Representations for Multi-modal Recommendation'.

    LightGCN gives h_u and h_i; h_i also adds the item's own embedding. A linear layer projects the
    features, h_m^i = W_m x_i^m + b_m. One linear predictor gives the online view h~ of each of
    these. The target view h. is h with entries dropped at random, without gradient. C is the
    negative cosine (docs/method.md, section 3):

        L = C(h~_u, h._i) + C(h~_i, h._u)                            reconstruction
          + contrast sum_m [C(h~_m^i, h._i) + C(h~_m^i, h._m^i)]     alignment and mask
          + lambda (|h_u|^2 + |h_i|^2)

    The model draws no negatives and ranks by <h~_u, h~_i>. An item without modality m leaves the
    two terms of m.

    Deviations: the features stay fixed; the released code trains them. The L2 term is `losses.l2`
    of the batch; the released code takes the norms, not their squares, of whole tables, divided by
    the number of items, so its lambda does not carry over.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        layers: int = Field(1, ge=0)
        """LightGCN propagation steps over the user-item graph."""
        dropout: Rate = 0.5
        """p: share of entries dropped in the target views."""
        regularization: Weight = 1e-4
        """lambda: weight of the L2 term over the rows of a batch (`losses.l2`)."""
        contrast: Weight = 2.0
        """Weight of the alignment and mask losses beside the reconstruction; 2 in the released
        code, 1 in the method documents."""

    needs = ("features",)
    n_negatives = 0
    by_dimension = True

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.columns = data.columns
        self.users = xavier(data.users, dim, generator, data.columns)
        self.items = xavier(data.items, dim, generator, data.columns)
        self.predictor = linear(dim, dim, generator)
        self.projections = projections(data.features, dim, generator, data.columns)
        self.data = data
        self.layers, self.dropout = config.layers, config.dropout
        self.regularization, self.contrast = config.regularization, config.contrast
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruction, alignment, mask and L2 terms.

        All representations pass the predictor, the dropout and the normalisation as one stack
        [u; i; m, ...]: at a batch of 2048, many small operations take longer than a large one.
        """
        users, items = self._representations()
        h_u, h_i = embedding(batch.users, users), embedding(batch.positives, items)
        modal = [
            projected(batch.positives, self.data.features[m], w)
            for m, w in self.projections.items()
        ]
        # The predictor and the cosines mix the columns, so they take whole rows of the batch.
        h = self.columns.gather(torch.stack([h_u, h_i, *modal]))
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
            "l2": self.regularization * self.columns.sum(losses.l2(h_u, h_i)),
        }

    def branches(self) -> dict[str, Branch]:
        """One branch: the online views."""
        users, items = self._representations()
        p, q = (self.predictor(self.columns.gather(x)) for x in (users, items))
        return {FUSED: Branch(self.columns.part(p), self.columns.part(q))}

    def _representations(self) -> tuple[Tensor, Tensor]:
        """(U, d) h_u and (I, d) h_i."""
        users, items = lightgcn(self.data.user_item, self.users, self.items, self.layers)
        return users, items + self.items

    def _targets(self, h: Tensor, generator: torch.Generator) -> Tensor:
        """The target views at unit length, without gradient; the cosine undoes any rescaling.

        Each random integer gives four draws of 16 bits: drawing is serial, and one float per entry
        would take a fifth of an epoch.
        """
        words = torch.empty(-(-h.numel() // 4), dtype=torch.int64, device=h.device)
        draws = words.random_(-(2**63), None, generator=generator).view(torch.int16)
        keep = draws[: h.numel()].view(h.shape) >= int(self.dropout * 2**16) - 2**15
        return unit_rows(h.detach() * keep)
