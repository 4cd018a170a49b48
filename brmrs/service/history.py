"""The interactions of each user: those that the model was trained on, and those held out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brmrs.columns import ITEM, SPLIT, SPLIT_INTERACTIONS, SPLIT_NAMES, TIMESTAMP, TRAIN, USER
from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.store.tables import read_table


@dataclass(frozen=True)
class History:
    """Interactions sorted by user, then newest first; without times by item.

    Attributes:
        starts: (U + 1,) int64; those of user u are at `starts[u]:starts[u + 1]`.
        items: (N,) int64.
        splits: (N,) int8, a key of `SPLIT_NAMES`.
    """

    starts: np.ndarray
    items: np.ndarray
    splits: np.ndarray

    def of(self, user: int, *, trained_on: bool = True) -> list[int]:
        """The user's items that the model was trained on, or those that were held out."""
        rows = slice(self.starts[user], self.starts[user + 1])
        mask = (self.splits[rows] == TRAIN) == trained_on
        items: list[int] = self.items[rows][mask].tolist()
        return items


def from_bundle(seen: UserItems) -> History:
    """The training items of a bundle, by item."""
    items = seen.items.numpy()
    return History(seen.indptr.numpy(), items, np.full(len(items), TRAIN, np.int8))


def read(path: Path, n_users: int, n_items: int) -> History:
    """Read `split/interactions.parquet`.

    Raises:
        UserError: the file cannot be read, or does not fit the model.
    """
    names = (USER, ITEM, TIMESTAMP, SPLIT)
    table = read_table(path, SPLIT_INTERACTIONS, names)
    users, items, times, splits = (table[name].fill_null(0).to_numpy() for name in names)
    for values, n in ((users, n_users), (items, n_items), (splits, len(SPLIT_NAMES))):
        if len(values) and not (values.min() >= 0 and values.max() < n):
            raise UserError(f"{path}: not the interactions of the model; run the pipeline again")
    order = np.lexsort((items, -times, users))
    starts = np.concatenate([[0], np.bincount(users, minlength=n_users).cumsum()])
    return History(starts, items[order].astype(np.int64), splits[order])
