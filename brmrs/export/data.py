"""The data of a run that the toolboxes get: ids, interactions with their split, features."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brmrs import columns, stages
from brmrs.errors import UserError
from brmrs.features import feature_table
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, sound
from brmrs.store.tables import read_table


@dataclass(frozen=True)
class Vectors:
    """The vectors of one modality.

    Attributes:
        rows: (I, d) float32; zeros for an item without the modality.
        present: (I,) bool.
    """

    rows: NDArray[np.float32]
    present: NDArray[np.bool_]


@dataclass(frozen=True)
class ExportData:
    """What a toolbox gets of a run.

    Attributes:
        name: of the data set; usable as the name of a file.
        users: U raw ids, in the order of the dense ids.
        items: I raw ids.
        titles: I titles, "" where unknown.
        brands: I brands.
        categories: I lists of categories.
        user: (N,) int32 dense ids of the interactions, sorted by user and item.
        item: (N,) int32.
        rating: (N,) float32, NaN where absent.
        timestamp: (N,) int64, ms, -1 where absent.
        split: (N,) int8, `columns.TRAIN`, `VALIDATION` or `TEST`.
        vectors: by modality, as far as the run made them.
    """

    name: str
    users: list[str]
    items: list[str]
    titles: list[str]
    brands: list[str]
    categories: list[list[str]]
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    split: NDArray[np.int8]
    vectors: dict[str, Vectors] = field(default_factory=dict)

    @property
    def is_rated(self) -> bool:
        """Whether every interaction has a rating."""
        return not np.isnan(self.rating).any()

    @property
    def is_dated(self) -> bool:
        """Whether every interaction has a time."""
        return bool((self.timestamp >= 0).all())


def load(run: Run, store: ArtifactStore) -> ExportData:
    """Read the artifacts of a run.

    Raises:
        UserError: an artifact is missing or damaged.
    """
    sound(run, store, "ingest", "split")

    def path(read: str) -> Path:
        return store.path(run.artifact(read.partition("/")[0]), read)

    items = read_table(path(stages.ITEMS), columns.ITEMS)
    users = read_table(path(stages.USERS), columns.USERS)
    table = read_table(path(stages.SPLIT), columns.SPLIT_INTERACTIONS)
    for column, n in ((columns.USER, len(users)), (columns.ITEM, len(items))):
        ids = table[column].to_numpy()
        if len(ids) and not (ids.min() >= 0 and ids.max() < n):
            raise UserError(f"split of run {run.name} names an unknown {column}; run it again")
    vectors = {}
    for modality, read in stages.FEATURE_TABLES.items():
        if read.partition("/")[0] in run.stages:
            sound(run, store, read.partition("/")[0])
            vectors[modality] = Vectors(*feature_table.read(path(read)))
    name = run.config["name"]
    return ExportData(
        name=name if name.strip(".") else "dataset",
        users=users[columns.USER_ID].to_pylist(),
        items=items[columns.ASIN].to_pylist(),
        titles=items[columns.TITLE].to_pylist(),
        brands=items[columns.BRAND].to_pylist(),
        categories=items[columns.CATEGORIES].to_pylist(),
        user=table[columns.USER].to_numpy(),
        item=table[columns.ITEM].to_numpy(),
        rating=table[columns.RATING].to_numpy(zero_copy_only=False).astype(np.float32),
        timestamp=table[columns.TIMESTAMP].fill_null(-1).to_numpy(),
        split=table[columns.SPLIT].to_numpy(),
        vectors=vectors,
    )
