"""Warm start from an earlier bundle: users and items in it keep their rows.

Users and items are matched by raw id. New ones, and every parameter that is not a table of users or
items, start as usual. For example, a projection of features fits only the principal directions of
the features that it was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Recommender
from brmrs.models.bundle import Bundle, WarmStart

# Largest share of validation interactions that the bundle was trained on. A few reviews with
# changed dates are harmless; after a new random split the share is about four fifths.
MOST_TRAINED_ON = 0.1


@dataclass(frozen=True)
class Matched:
    """A bundle, and the places of a training's users and items in it.

    Attributes:
        state: the bundle's parameters.
        users: (U,) int64 rows in the bundle, -1 for users that it lacks.
        items: (I,) int64, the same of the items.
        about: for the new bundle, without the tables that are taken over.
    """

    state: Mapping[str, Tensor]
    users: Tensor
    items: Tensor
    about: WarmStart


def start_from(
    previous: Bundle,
    name: str,
    model: Recommender,
    users: Sequence[str],
    items: Sequence[str],
    validation: UserItems,
) -> WarmStart:
    """Copy the rows of known users and items into a model that has not been trained.

    Args:
        previous: the bundle.
        name: of the recommender.
        model: on any device.
        users: U raw ids, in the order of the model's rows.
        items: I asins, in the order of the model's rows.
        validation: the items to select the model by.

    Raises:
        UserError: as of `match` and `copy_rows`.
    """
    return copy_rows(match(previous, name, users, items, validation), model)


def match(
    previous: Bundle,
    name: str,
    users: Sequence[str],
    items: Sequence[str],
    validation: UserItems,
) -> Matched:
    """Find the users and items in a bundle; arguments as of `start_from`.

    Raises:
        UserError: the bundle has another recommender, or was trained on the validation
            interactions.
    """
    if previous.about.model["name"] != name:
        raise UserError(
            f"train.warm_start: the bundle holds {previous.about.model['name']}, the model is "
            f"{name}; train it without"
        )
    user_places = _places(previous.user_index, users)
    item_places = _places(previous.item_index, items)
    trained_on = _trained_on(previous, validation.to("cpu"), user_places, item_places)
    if trained_on > MOST_TRAINED_ON * len(validation.items):
        raise UserError(
            f"train.warm_start: the bundle was trained on {trained_on:,} of the "
            f"{len(validation.items):,} validation interactions, so all metrics would be too high; "
            "set split.protocol to leave-last-out or time, or train without"
        )
    about = WarmStart(
        tensors_sha256=previous.about.tensors_sha256,
        tables=(),
        users=int((user_places >= 0).sum()),
        items=int((item_places >= 0).sum()),
        validation_trained_on=trained_on,
    )
    return Matched(previous.state, user_places, item_places, about)


@torch.no_grad()
def copy_rows(matched: Matched, model: Recommender) -> WarmStart:
    """Copy the rows of known users and items into a model, or its share of the columns.

    Raises:
        UserError: the bundle has other row lengths.
    """
    state = model.state_dict()
    places = dict.fromkeys(model.user_tables, matched.users)
    places |= dict.fromkeys(model.item_tables, matched.items)
    tables = sorted(state.keys() & places.keys())
    for table in tables:
        old = matched.state.get(table)
        if old is not None and model.columns.workers > 1 and old.shape[-1] % model.columns.dim == 0:
            old = model.columns.part(old)
        _copy(table, old, state[table], places[table])
    return matched.about.model_copy(update={"tables": tuple(tables)})


def _trained_on(previous: Bundle, validation: UserItems, users: Tensor, items: Tensor) -> int:
    """The number of (user, item) pairs that are training items of the bundle."""
    users, items = users[validation.users], items[validation.items]
    known = (users >= 0) & (items >= 0)
    return int(previous.seen.contain(users[known], items[known]).sum())


def _places(known: dict[str, int], names: Sequence[str]) -> Tensor:
    """(len(names),) int64, the index of each name in the bundle, -1 for unknown names."""
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
