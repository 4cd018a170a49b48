"""VECF (Chen 2019)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, softplus

from brmrs import losses
from brmrs.columns import FUSED
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.frozen_features import unit_rows
from brmrs.models.initialise import xavier
from brmrs.models.scorers import AttentiveParts, attended


class VECF(Recommender):
    """Chen et al. 2019, 'Personalized Fashion Recommendation with Visual Explanations'.

    Each user looks at an item's parts f_ik in a way of their own:

        a_uik = softmax_k <W_u p_u, W_f f_ik>,  s(u, i) = <p_u, q_i + sum_k a_uik W_v f_ik>

    and is trained by cross-entropy, -log sigma(s_ui) - sum_j log(1 - sigma(s_uj)), + L2 of p and q.

    Where this is not the paper: its parts are the 14 x 14 regions of a VGG feature map, and the
    text of reviews supervises the attention. Here a feature table has one vector per picture, the
    map's mean, and reviews have no text; the parts are the picture and the item's text, each with
    W_f and W_v of its own. So this attends to modalities, not to regions. The linear map from the
    product to a logit is taken into W_u.

    Args:
        data: the training split with features of at least one modality.
        seed: of the parameters.
        dim: d.
        negatives: sampled for each positive.
        regularization: of the L2 term, over the batch's rows.
    """

    needs = frozenset({"features"})

    def __init__(
        self, data: TrainingData, *, seed: int, dim: int, negatives: int, regularization: float
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.parts = {m: unit_rows(x) for m, x in sorted(data.features.items())}
        self.present = torch.stack([data.present[m] for m in self.parts], dim=1)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.query = xavier(dim, dim, generator)  # W_u, transposed, like the next two
        sizes = {m: x.shape[1] for m, x in self.parts.items()}
        self.keys = nn.ParameterDict({m: xavier(d, dim, generator) for m, d in sizes.items()})
        self.values = nn.ParameterDict({m: xavier(d, dim, generator) for m, d in sizes.items()})
        self.negatives, self.regularization = negatives, regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy, and L2 over the batch's rows."""
        triples = batch.triples
        p, q = embedding(batch.users, self.users), embedding(triples, self.items)
        keys, values = self._projected(triples)
        scores = (p.unsqueeze(1) * q).sum(dim=-1) + attended(
            torch.einsum("bd,bnkd->bnk", p @ self.query, keys),
            torch.einsum("bd,bnkd->bnk", p, values),
            self.present[triples],
        )
        entropy = softplus(-scores[:, 0]) + softplus(scores[:, 1:]).sum(dim=1)
        return {
            "cross_entropy": entropy.mean(),
            "l2": self.regularization * losses.l2(p, q),
        }

    def branches(self) -> dict[str, AttentiveParts]:
        """One branch; its attention is computed for each pair."""
        keys, values = self._projected(slice(None))
        queries = self.users @ self.query
        scorer = AttentiveParts(self.users, self.items, queries, keys, values, self.present)
        return {FUSED: scorer}

    def _projected(self, items: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Of items in any shape (a slice copies no features) (..., K, d) W_f f_ik and W_v f_ik."""
        rows = {m: x[items] for m, x in self.parts.items()}
        keys = torch.stack([x @ self.keys[m] for m, x in rows.items()], dim=-2)
        return keys, torch.stack([x @ self.values[m] for m, x in rows.items()], dim=-2)
