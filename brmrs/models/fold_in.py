"""Fold-in: scores for new users, from their histories alone, without training.

`Scorer.fold_in` returns a function from histories to a scorer of these users. What it fits, it fits
once, on the known users and their training items.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from brmrs.graphs.user_items import UserItems, spans

RIDGE = 1e-3  # penalty of the regression, times the mean square of its inputs
USERS_PER_BLOCK = 2**14  # bounds memory, not the result


@dataclass(frozen=True)
class UserRegression:
    """A user's vectors as a linear function of the vectors of the user's items.

    The input is one step of LightGCN's propagation, h_u = sum_{i in N_u} q_i / sqrt(|N_u| |N_i|),
    and a constant. The weights are those of the ridge regression of the known users' vectors on
    their h_u, in closed form. A graph model's user vectors are nearly a multiple of h_u; those of
    other models depend on the history less directly, and the regression finds the linear part.

    Attributes:
        items: (I, d) item vectors, each divided by sqrt(|N_i|).
        weights: (d + 1, D), the last row for the constant.
    """

    items: Tensor
    weights: Tensor

    @classmethod
    def fit(cls, seen: UserItems, items: Tensor, users: Tensor) -> "UserRegression":
        """Fit the users' vectors; users without training items do not count.

        Args:
            seen: the training items of each user.
            items: (I, d) vectors that the items enter with.
            users: (U, D) vectors to predict.
        """
        degrees = torch.bincount(seen.items, minlength=seen.n_items).clamp(min=1)
        scaled = items.detach() / degrees.sqrt().unsqueeze(1)
        width = items.shape[1] + 1
        gram = torch.zeros(width, width, dtype=torch.float64, device=items.device)
        moment = torch.zeros(width, users.shape[1], dtype=torch.float64, device=items.device)
        for block in torch.split(seen.counts.nonzero().squeeze(1), USERS_PER_BLOCK):
            h = _with_constant(propagated(seen, block, scaled)).double()
            gram += h.T @ h
            moment += h.T @ users.detach()[block].double()
        scale = gram.diagonal()[:-1].mean().clamp(min=torch.finfo(torch.float64).tiny)
        gram.diagonal()[:-1] += RIDGE * scale
        gram.diagonal()[-1] += RIDGE
        return cls(scaled, torch.linalg.solve(gram, moment).to(items.dtype))

    def __call__(self, histories: UserItems) -> Tensor:
        """(U', D) vectors of new users."""
        everyone = torch.arange(histories.n_users, device=self.items.device)
        return _with_constant(propagated(histories, everyone, self.items)) @ self.weights


def propagated(histories: UserItems, users: Tensor, items: Tensor) -> Tensor:
    """(B, d): the sum of the (I, d) vectors of each user's items, over sqrt(|N_u|)."""
    owners, places = spans(histories.indptr, users)
    sums = items.new_zeros(len(users), items.shape[1])
    sums.index_add_(0, owners, items[histories.items[places]])
    return sums / histories.counts[users].clamp(min=1).sqrt().unsqueeze(1)


def _with_constant(h: Tensor) -> Tensor:
    return torch.cat([h, h.new_ones(len(h), 1)], dim=1)


def summed_similarities(
    histories: UserItems, users: Tensor, similarities: Callable[[int], Tensor]
) -> Tensor:
    """(B, I): the similarities of all items to each user's items, summed.

    Args:
        histories: of the users.
        users: (B,).
        similarities: an item to (I,).
    """
    scores = torch.zeros(len(users), histories.n_items, device=histories.items.device)
    for row, item in zip(*(part.tolist() for part in histories.of(users)), strict=True):
        scores[row] += similarities(item)
    return scores
