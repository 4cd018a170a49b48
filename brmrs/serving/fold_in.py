"""Scores for users whom the model does not know, by their histories."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.models.bundle import Bundle


@torch.no_grad()
def history_scores(bundle: Bundle, items: Sequence[int], branch: str = FUSED) -> Tensor:
    """The scores of all items for a user known only by a history.

    The first call fits the bundle's fold-in (`Bundle.fold_in`); later ones reuse it.

    Args:
        bundle: the model.
        items: dense item ids, at least one; an item named twice counts once.
        branch: "fused", "text" or "visual".

    Returns:
        (I,) scores; those of the history's items are included.

    Raises:
        UserError: the history is empty or names no item of the model, or the model has no such
            branch.
    """
    n_items = len(bundle.about.items)
    if not items:
        raise UserError("the history is empty; give at least one item")
    if min(items) < 0 or max(items) >= n_items:
        raise UserError(f"the history names an item outside 0 to {n_items - 1}")
    if branch not in bundle.branches:
        known = ", ".join(bundle.branches)
        raise UserError(f"the model has no branch {branch!r}; it has {known}")
    one = torch.tensor(list(items))
    history = UserItems.from_pairs(torch.zeros_like(one), one, 1, n_items)
    return bundle.fold_in[branch](history).scores(torch.tensor([0]))[0]
