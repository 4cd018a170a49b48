"""Starting from an earlier bundle: users and items that it knows keep their rows.

They are matched by their own ids. New ones, and every parameter that is not a table of users or
items, start as usual: a projection of features, say, belongs to the principal directions of the
features that it was trained on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from brmrs.columns import ITEM, USER
from brmrs.errors import UserError
from brmrs.models.base import Recommender
from brmrs.training.bundle import Bundle, WarmStart


@torch.no_grad()
def start_from(
    previous: Bundle, name: str, model: Recommender, users: Sequence[str], items: Sequence[str]
) -> WarmStart:
    """Copy the rows of known users and items into a model that has not been trained.

    Args:
        previous: the bundle.
        name: of the recommender.
        model: on any device.
        users: U raw ids, in the order of the model's rows.
        items: I asins, likewise.

    Raises:
        UserError: the bundle holds another recommender, or rows of another length.
    """
    if previous.about.model["name"] != name:
        raise UserError(
            f"train.warm_start: the bundle holds {previous.about.model['name']}, the model is "
            f"{name}; train it without"
        )
    places = {USER: _places(previous.user_index, users), ITEM: _places(previous.item_index, items)}
    state = model.state_dict()
    tables = {table: kind for table, kind in model.tables.items() if table in state}
    for table, kind in tables.items():
        _copy(table, previous.state.get(table), state[table], places[kind])
    users_known, items_known = (int((place >= 0).sum()) for place in places.values())
    return WarmStart(
        tensors_sha256=previous.about.tensors_sha256,
        tables=tuple(sorted(tables)),
        users=users_known,
        items=items_known,
    )


def _places(known: dict[str, int], names: Sequence[str]) -> Tensor:
    """(len(names),) int64, the place of each name in the bundle, -1 where it has none."""
    return torch.tensor([known.get(name, -1) for name in names], dtype=torch.int64)


def _copy(table: str, old: Tensor | None, new: Tensor, places: Tensor) -> None:
    if old is None or old.shape[1:] != new.shape[1:]:
        found = "none" if old is None else " x ".join(map(str, old.shape[1:]))
        wanted = " x ".join(map(str, new.shape[1:]))
        raise UserError(
            f"train.warm_start: the bundle's rows of `{table}` have length {found}, the model's "
            f"{wanted}; train with the bundle's model configuration, or without it"
        )
    known = (places >= 0).to(new.device)
    new[known] = old[places[places >= 0]].to(new.device)
