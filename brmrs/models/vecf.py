"""VECF (Chen 2019)."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, softplus
from torch.utils.checkpoint import checkpoint

from brmrs.columns import FUSED, VISUAL
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.models import losses
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.initialise import xavier
from brmrs.models.scorers import AttentiveParts, attended

BLOCK_BYTES = 2**24  # of features looked up at once


@register("vecf")
class VECF(Recommender):
    """Chen et al. 2019, 'Personalized Fashion Recommendation with Visual Explanations'.

    Each user has an attention over the parts f_ik of an item:

        a_uik = softmax_k <W_u p_u, W_f f_ik>,  s(u, i) = <p_u, q_i + sum_k a_uik W_v f_ik>

    The loss is the cross-entropy -log sigma(s_ui) - sum_j log(1 - sigma(s_uj)), plus L2 of p and q.

    If the visual features have regions (`features.visual.regions`), only these are the parts, as in
    the paper: the 14 x 14 positions of a VGG feature map. Otherwise the parts are the picture and
    the item's text, one vector each, with their own W_f and W_v: attention to modalities, not to
    regions.

    Deviations: every f_ik is scaled to length 1; there is no review text to supervise the
    attention; the linear map from the product to a logit is part of W_u. An item without a picture,
    or without any part, has only q_i.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        n_negatives: int = Field(4, gt=0)
        """Negatives sampled for each positive."""
        regularization: Weight = 1e-2
        """lambda: weight of the L2 term over the rows of a batch (`losses.l2`)."""

    needs = ("features",)

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.parts = parts_of(data)
        self.present = torch.cat(
            [data.present[m].unsqueeze(1).expand(x.shape[:2]) for m, x in self.parts.items()], dim=1
        )
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.query = xavier(dim, dim, generator)  # W_u, transposed, like the next two
        sizes = {m: x.shape[2] for m, x in self.parts.items()}
        self.keys = nn.ParameterDict({m: xavier(d, dim, generator) for m, d in sizes.items()})
        self.values = nn.ParameterDict({m: xavier(d, dim, generator) for m, d in sizes.items()})
        self.n_negatives, self.regularization = config.n_negatives, config.regularization
        self.to(data.device)

    @classmethod
    def working_bytes(cls, data: TrainingData, config: Any) -> int:
        """With regions, also the scorer, twice while it is saved, and on a GPU the regions."""
        usual = super().working_bytes(data, config)
        if data.regions is None:
            return usual
        keys = data.regions[..., 0].numel() * int(config.dim) * data.regions.itemsize
        return usual + 4 * keys + (data.regions.nbytes if data.device.type == "cuda" else 0)

    def learns_from(self, modality: str) -> bool:
        """With regions, the model reads only the pictures."""
        return modality in self.parts

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy, and L2 over the batch's rows."""
        triples = batch.triples
        p, q = embedding(batch.users, self.users), embedding(triples, self.items)
        scores = (p.unsqueeze(1) * q).sum(dim=-1) + self._attended(p, triples)
        entropy = softplus(-scores[:, 0]) + softplus(scores[:, 1:]).sum(dim=1)
        return {
            "cross_entropy": entropy.mean(),
            "l2": self.regularization * losses.l2(p, q),
        }

    def branches(self) -> dict[str, AttentiveParts]:
        """One branch; its attention is computed for each pair."""
        blocks = torch.split(
            torch.arange(len(self.items), device=self.items.device), self._at_once(1)
        )
        keys, values = (
            torch.cat([self._projected(items, weights) for items in blocks])
            for weights in (self.keys, self.values)
        )
        queries = self.users @ self.query
        scorer = AttentiveParts(self.users, self.items, queries, keys, values, self.present)
        return {FUSED: scorer}

    def _attended(self, p: Tensor, items: Tensor) -> Tensor:
        """(B, n) sum_k a_uik <p_u, W_v f_ik> of (B, d) users and (B, n) items.

        W_f and W_v are applied to the users' side, so that a region costs two inner products. The
        backward pass looks up the features of a block again, because those of a batch would not
        fit: 196 regions of 512 numbers for 2048 users with five items take 4 GB.
        """
        sought = [
            torch.stack([p @ self.query @ self.keys[m].T, p @ self.values[m].T], dim=1)
            for m in self.parts
        ]
        size = self._at_once(items.shape[1])
        blocks = zip(*(torch.split(each, size) for each in (items, *sought)), strict=True)
        scores = [
            checkpoint(self._of_block, *block, use_reentrant=False, preserve_rng_state=False)
            for block in blocks
        ]
        return torch.cat(scores)

    def _of_block(self, items: Tensor, *sought: Tensor) -> Tensor:
        """(B, n) of (B, n) items and the users' side of both products, (B, 2, d_m) for each m."""
        products = []
        for modality, each in zip(self.parts, sought, strict=True):
            rows, lengths = self._rows(modality, items)
            products.append(torch.einsum("btd,bnkd->tkbn", each, rows) / lengths.movedim(-1, 0))
        logits, values = torch.cat(products, dim=1)
        return attended(logits, values, self.present[items].movedim(-1, 0))

    def _projected(self, items: Tensor, weights: nn.ParameterDict) -> Tensor:
        """(n, K, d) W f_ik of (n,) items, in the precision of the stored features."""
        projected = []
        for modality, x in self.parts.items():
            rows, lengths = self._rows(modality, items)
            projected.append((rows @ weights[modality] / lengths.unsqueeze(-1)).to(x.dtype))
        return torch.cat(projected, dim=1)

    def _rows(self, modality: str, items: Tensor) -> tuple[Tensor, Tensor]:
        """(..., K_m, d_m) features of items in any shape, not scaled, and (..., K_m) lengths.

        Products are divided by the lengths, as they are fewer numbers than the features.
        """
        rows = self.parts[modality][items].to(self.users.dtype)
        lengths = torch.linalg.vector_norm(rows, dim=-1)
        return rows, lengths.clamp(min=torch.finfo(rows.dtype).tiny)

    def _at_once(self, items: int) -> int:
        """The number of rows, of so many items each, that are looked up at once."""
        numbers = sum(x[0].numel() for x in self.parts.values())
        return max(1, BLOCK_BYTES // (items * numbers * self.users.itemsize))


def parts_of(data: TrainingData) -> dict[str, Tensor]:
    """(I, K_m, d_m) by modality: the regions, mapped still on a CPU, or the vector of each."""
    if data.regions is not None:
        return {VISUAL: data.regions.to(data.device)}
    return {m: x.unsqueeze(1) for m, x in sorted(data.features.items())}
