"""EASE (Steck 2019): a linear item-item model in closed form."""

import scipy.sparse as sp
import torch
from pydantic import Field
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.errors import UserError
from brmrs.extensions import register
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.item_knn import history, interactions
from brmrs.models.scorers import ItemWeights

TOLERANCE = 0.01  # relative error of the inverse, on one vector
BYTES_PER_PAIR = 12  # the Gram matrix, its Cholesky factor and the inverse, float32


@register("ease")
class EASE(Recommender):
    """Steck 2019, 'Embarrassingly Shallow Autoencoders for Sparse Data'.

    A linear item-item model in closed form (section 3.1): B minimises |X - X B|^2 + lambda |B|^2
    with diag(B) = 0. With P = (X^T X + lambda I)^-1, B_ij = -P_ij / P_jj off the diagonal, and
    s(u, .) = X_u B. Nothing is trained by gradient.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        ridge: float = Field(200.0, gt=0)
        """lambda: ridge penalty; larger values are numerically safer."""

    trainable = False

    @classmethod
    def working_bytes(cls, data: TrainingData, config: ModelSection) -> int:  # noqa: ARG003
        """Three (I, I) matrices; the features are not used."""
        return BYTES_PER_PAIR * data.items**2

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        r = interactions(data)
        weights = item_weights(r, config.ridge, data.device)
        self._scorer = ItemWeights(*history(r, data.device), weights)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing to learn."""
        raise NotImplementedError("ease has no loss; it is complete once constructed")

    def branches(self) -> dict[str, ItemWeights]:
        """One branch."""
        return {FUSED: self._scorer}


def item_weights(r: sp.csr_matrix, ridge: float, on: torch.device) -> Tensor:
    """(I, I) float32 B of the (U, I) binary interactions.

    Raises:
        UserError: the ridge is too small for float32.
    """
    gram = torch.from_numpy((r.T @ r).toarray()).to(on)
    gram.diagonal().add_(ridge)
    # Row by row in memory: LAPACK returns columns, and each look-up of rows would copy all of them.
    weights = _inverse(gram, ridge).contiguous()
    weights /= -weights.diagonal().clone()
    weights.fill_diagonal_(0)
    return weights


def _inverse(gram: Tensor, ridge: float) -> Tensor:
    """The inverse of the regularised (I, I) Gram matrix.

    The inverse is checked on one vector, because for an ill-conditioned matrix it may be finite but
    wrong.

    Raises:
        UserError: the ridge is too small for float32.
    """
    factor, failed = torch.linalg.cholesky_ex(gram)
    inverse = torch.cholesky_inverse(factor)
    probe = torch.linspace(1, 2, len(gram), device=gram.device)
    wrong = (gram @ (inverse @ probe) - probe).norm() / probe.norm()
    if bool(failed) or not bool(wrong < TOLERANCE):
        raise UserError(
            f"model.ridge: {ridge:g} is too small, the item matrix cannot be inverted in single "
            "precision; raise model.ridge, 1 or more"
        )
    return inverse
