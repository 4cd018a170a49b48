"""EASE whose item-item weights are extended to the nearest neighbours by text and picture."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import ModelSection
from brmrs.config.section import Share, Weight
from brmrs.extensions import register
from brmrs.graphs import modality
from brmrs.graphs.sparse import SparseMatrix, multiply
from brmrs.models import ease
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.item_knn import history, interactions
from brmrs.models.scorers import ItemWeights


@register("content-ease")
class ContentEASE(Recommender):
    """EASE (Steck 2019, `brmrs.models.ease`) between two steps over the content graph; our own.

    B is EASE's matrix of the training split. K holds the cosines of the items' nearest neighbours:
    K_ij is the larger of N_ij and N_ji, N = (1 - a_v) N_t + a_v N_v, and cosines below 0 count 0.
    With K~ = D^-1/2 K D^-1/2 and D the row sums of K,

        s(u, .) = R_u (I + c K~) B (I + d K~)

    So an item stands for what similar items were bought with (c), and a candidate also gets the
    scores of similar items (d). With c = d = 0 this is EASE. Nothing is trained by gradient. A
    candidate without training interactions is scored by its neighbours.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        ridge: float = Field(200.0, gt=0)
        """lambda: ridge penalty of EASE; larger values are numerically safer."""
        history: Weight = 3.0
        """c: weight of the neighbours of the user's items."""
        candidates: Weight = 1.0
        """d: weight of the neighbours of the candidate."""
        visual_weight: Share = 0.1
        """a_v: weight of the pictures' neighbours; the texts' have the rest. No effect where only
        one modality has neighbours."""

    needs = ("modality_graphs",)
    trainable = False

    @classmethod
    def working_bytes(cls, data: TrainingData, config: ModelSection) -> int:  # noqa: ARG003
        """Three (I, I) matrices."""
        return ease.BYTES_PER_PAIR * data.items**2

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        r = interactions(data)
        near = normalised(nearest(data.modality_graphs, config.visual_weight))
        weights = ease.item_weights(r, config.ridge, data.device)
        weights = extended(weights, near, config.history, config.candidates)
        self._scorer = ItemWeights(*history(r, data.device), weights)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing to learn."""
        raise NotImplementedError("content-ease has no loss; it is complete once constructed")

    def branches(self) -> dict[str, ItemWeights]:
        """One branch."""
        return {FUSED: self._scorer}


def nearest(graphs: Mapping[str, SparseMatrix], visual_weight: float) -> SparseMatrix:
    """(I, I) N = (1 - a_v) N_t + a_v N_v, or the only graph there is.

    Args:
        graphs: (I, I) cosines of each item with its nearest neighbours, by modality.
        visual_weight: a_v.
    """
    if len(graphs) == 1:
        return next(iter(graphs.values()))
    weights = {TEXT: 1 - visual_weight, VISUAL: visual_weight}
    return modality.mixture((weights[m], graph) for m, graph in graphs.items())


def normalised(near: SparseMatrix) -> SparseMatrix:
    """K~ = D^-1/2 max(N, N^T) D^-1/2 of the entries above 0, symmetric."""
    rows, columns, values = modality.edges(near)
    kept = values > 0
    positive = SparseMatrix.from_edges(rows[kept], columns[kept], values[kept], near.shape)
    reverse = SparseMatrix(positive.transposed, positive.csr)
    return modality.symmetric(modality.maximum([positive, reverse]))


def extended(weights: Tensor, near: SparseMatrix, history: float, candidates: float) -> Tensor:
    """(I + c K~) B (I + d K~), row by row in memory.

    Args:
        weights: (I, I) B.
        near: (I, I) K~, symmetric.
        history: c.
        candidates: d.
    """
    if history:
        weights = multiply(near.csr, weights).mul_(history).add_(weights)
    if candidates:  # one name, so that no more than three matrices exist at once
        weights = weights.T.contiguous()
        weights = multiply(near.csr, weights).mul_(candidates).add_(weights)
        weights = weights.T.contiguous()
    return weights
