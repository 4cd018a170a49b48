"""Item-based nearest neighbours, a simple baseline."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.graphs.top_k import largest
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.scorers import ItemNeighbours

BLOCK_ROWS = 1024  # items compared at once; bounds memory, not the result


@register("item-knn")
class ItemKNN(Recommender):
    """Deshpande and Karypis 2004, 'Item-Based Top-N Recommendation Algorithms'.

    The score of a candidate i is the sum of s_ij over the user's items j that are among the k
    nearest items of i. N_i are the users of i:

        s_ij = |N_i n N_j| / (sqrt(|N_i| |N_j|) + shrink)

    Nothing is trained.

    Deviations: the paper takes the k nearest items of each of the user's items j; here the k
    nearest of the candidate i count, as in common libraries. The shrinkage also follows them.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        neighbours: int = Field(500, gt=0)
        """k: nearest items kept of each item; ties go to the lower item."""
        shrink: Weight = 100.0
        """Added to the denominator; reduces the similarity of items with few users."""

    trainable = False

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        r = interactions(data)
        blocks = list(_nearest(r, config.neighbours, config.shrink))
        items, others, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
        # Row j holds the similarities of j to the items that have j among their nearest.
        weights = sp.csr_matrix((values, (others, items)), shape=(data.items, data.items))
        weights.sort_indices()
        on = data.device
        self._scorer = ItemNeighbours(
            *history(r, on),
            indptr=torch.from_numpy(weights.indptr.astype(np.int64)).to(on),
            columns=torch.from_numpy(weights.indices.astype(np.int64)).to(on),
            weights=torch.from_numpy(weights.data.astype(np.float32)).to(on),
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing to learn."""
        raise NotImplementedError("item-knn has no loss; it is complete once constructed")

    def branches(self) -> dict[str, ItemNeighbours]:
        """One branch."""
        return {FUSED: self._scorer}


def interactions(data: TrainingData) -> sp.csr_matrix:
    """The (U, I) binary matrix of the training interactions, float32."""
    ends = data.train_users.cpu().numpy(), data.train_items.cpu().numpy()
    ones = np.ones(len(ends[0]), dtype=np.float32)
    return sp.csr_matrix((ones, ends), shape=(data.users, data.items))


def history(r: sp.csr_matrix, on: torch.device) -> tuple[Tensor, Tensor]:
    """The (U + 1,) starts and (N,) items of the users, as scorers take them."""
    starts, items = (torch.from_numpy(part.astype(np.int64)) for part in (r.indptr, r.indices))
    return starts.to(on), items.to(on)


def _nearest(
    r: sp.csr_matrix, k: int, shrink: float
) -> Iterator[tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float64]]]:
    """Blocks of (item, one of its k nearest others, similarity)."""
    of_items = sp.csr_matrix(r.T)
    degrees = np.diff(of_items.indptr).astype(np.float64)
    for start in range(0, r.shape[1], BLOCK_ROWS):
        common = sp.csr_matrix(of_items[start : start + BLOCK_ROWS] @ r)
        common.sort_indices()
        items = np.repeat(
            np.arange(len(degrees))[start : start + BLOCK_ROWS], np.diff(common.indptr)
        )
        others = common.indices
        values = common.data / (np.sqrt(degrees[items] * degrees[others]) + shrink)
        other = np.flatnonzero(items != others)
        near = other[largest(items[other], values[other], k)]
        yield items[near], others[near], values[near]
