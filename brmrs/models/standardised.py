"""The weighted sum of several scorers, each standardised per user."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from brmrs.graphs.user_items import UserItems
from brmrs.models.base import FoldIn, Scorer

SMALLEST = 1e-6  # a smaller deviation, relative to the mean, is rounding


@dataclass(frozen=True)
class StandardisedSum(Scorer):
    """s(u, i) = sum_k w_k z_k(u, i), z_k the scores of part k standardised over all items of u.

    The parts have different units, so each is brought to mean 0 and deviation 1 first. A user whose
    scores in a part are all equal gets 0 from it.

    Attributes:
        weights: (K,) w_k, in the order of the parts.
        parts: K scorers of the same users and items, by name. In a bundle they are branches with
            these names.
    """

    weights: Tensor
    parts: Mapping[str, Scorer]

    def __post_init__(self) -> None:
        shapes = {part.shape for part in self.parts.values()}
        if len(shapes) != 1 or self.weights.shape != (len(self.parts),):
            raise ValueError(f"{len(self.weights)} weights, parts of the shapes {sorted(shapes)}")

    @property
    def shape(self) -> tuple[int, int]:
        """(U, I)."""
        return next(iter(self.parts.values())).shape

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores."""
        total = torch.zeros(len(users), self.shape[1], device=users.device)
        for weight, part in zip(self.weights.tolist(), self.parts.values(), strict=True):
            scores = part.scores(users)
            factor = _centred(scores)
            total.addcmul_(scores, factor, value=weight)
        return total

    def similarities(self, item: int) -> Tensor:
        """(I,) those of the first part."""
        return next(iter(self.parts.values())).similarities(item)

    def fold_in(self, seen: UserItems) -> FoldIn:
        """The same sum of the parts' new users."""
        fitted = {name: part.fold_in(seen) for name, part in self.parts.items()}
        return lambda histories: replace(
            self, parts={name: of(histories) for name, of in fitted.items()}
        )


def standardised(scores: Tensor) -> Tensor:
    """(B, I) scores with mean 0 and deviation 1 in each row, in place; 0 where all are equal."""
    return scores.mul_(_centred(scores))


def _centred(scores: Tensor) -> Tensor:
    """Subtract each row's mean from (B, I) scores in place.

    Returns:
        (B, 1) the reciprocal of each row's deviation; 0 where all scores of the row are equal.
    """
    mean = scores.mean(dim=1, keepdim=True)
    norms = torch.linalg.vector_norm(scores.sub_(mean), dim=1, keepdim=True)
    deviation = norms / math.sqrt(scores.shape[1])
    # A division would turn the rounding of equal scores into noise of deviation 1.
    return torch.where(deviation > SMALLEST * mean.abs(), 1 / deviation, 0)
