"""EASE (Steck 2019): a linear item-item model in closed form."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.item_knn import history, interactions
from brmrs.models.scorers import ItemWeights

BYTES_PER_PAIR = 12  # the Gram matrix, its Cholesky factor and the inverse, float32


class EASE(Recommender):
    """Steck 2019, 'Embarrassingly Shallow Autoencoders for Sparse Data'.

    min_B |X - X B|^2 + lambda |B|^2 with diag(B) = 0: P = (X^T X + lambda I)^-1,
    B_ij = -P_ij / P_jj off the diagonal (section 3.1); s(u, .) = X_u B. Nothing is
    trained by gradient.

    Args:
        data: the training split.
        seed: unused.
        ridge: lambda.
    """

    trainable: ClassVar[bool] = False

    @classmethod
    def working_bytes(
        cls,
        data: TrainingData,
        hyper_parameters: Mapping[str, Any],  # noqa: ARG003 - of the interface
    ) -> int:
        """Three (I, I) matrices, and nothing of the features."""
        return BYTES_PER_PAIR * data.items**2

    def __init__(self, data: TrainingData, *, seed: int, ridge: float):
        super().__init__()
        r = interactions(data)
        gram = torch.from_numpy((r.T @ r).toarray()).to(data.device)
        gram.diagonal().add_(ridge)
        weights = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights /= -weights.diagonal().clone()
        weights.fill_diagonal_(0)
        self._scorer = ItemWeights(*history(r, data.device), weights)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing to learn."""
        raise NotImplementedError("ease has no loss; it is complete once constructed")

    def branches(self) -> dict[str, ItemWeights]:
        """One branch."""
        return {FUSED: self._scorer}
