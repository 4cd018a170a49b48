"""The literature's ready-made layout: a data set that is already filtered and split.

| file | holds |
|---|---|
| one `*.inter` | a table: `userID`, `itemID`, [`rating`, `timestamp`], `x_label` |
| `i_id_mapping.csv` | the raw id of each `itemID` |
| `u_id_mapping.csv` | the same for `userID`; without it users are named by their number |
| `text_feat.npy`, `image_feat.npy` | row i is the vector of item i; optional |
| `t_feat.npy`, `v_feat.npy` | other names of the same |
| `knn_text.parquet`, `knn_image.parquet` | `item`, `neighbour`, `cosine`; optional |

Tables are separated by tabs, commas or semicolons. `x_label` is the split: 0 or train, 1 or
validation, 2 or test. Ids stay as they are, and no k-core is taken.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brmrs import columns
from brmrs.columns import (
    COSINE,
    ITEM,
    LAYOUT_ITEM,
    LAYOUT_SPLIT,
    LAYOUT_USER,
    NEIGHBOUR,
    RATING,
    SPLIT_NAMES,
    TEXT,
    TIMESTAMP,
    VALIDATION,
    VISUAL,
)
from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.dataset import Dataset, Given, Reading
from brmrs.ingest.files import listing
from brmrs.ingest.interactions import END_OF_TIME, LARGEST_RATING, NO_TIME, Interactions
from brmrs.ingest.ready_made.delimited import Delimited

LOG = logging.getLogger(__name__)
NAME = "ready-made"
INTERACTIONS = ".inter"
ITEM_IDS, USER_IDS = "i_id_mapping.csv", "u_id_mapping.csv"
FEATURES = {TEXT: ("text_feat.npy", "t_feat.npy"), VISUAL: ("image_feat.npy", "v_feat.npy")}
NEIGHBOURS = {TEXT: "knn_text.parquet", VISUAL: "knn_image.parquet"}

MAX_ROWS = 2**31 - 1  # ids are int32
OTHER_NAMES = {"user_id": LAYOUT_USER, "item_id": LAYOUT_ITEM}
LABELS = {
    **{f"{value}{zeros}": value for value in SPLIT_NAMES for zeros in ("", ".0")},
    **{name: value for value, name in SPLIT_NAMES.items()},
    **dict.fromkeys(("valid", "val"), VALIDATION),
}
LIKE_FEATURES = {".npy", ".npz", ".pt", ".pth", ".parquet", ".pkl"}  # suffixes
SECONDS_BELOW = 100_000_000_000  # smaller timestamps are seconds, others milliseconds
COSINE_SLACK = 1e-3  # tolerance for cosines above 1 by rounding


def layout_files(config: IngestConfig) -> list[Path]:
    """The files of the configured folder that belong to the layout, sorted by name.

    Raises:
        UserError: there is no folder, not exactly one `*.inter`, or no ids of the items.
    """
    if config.path is None:
        raise UserError("ingest.path: format: ready-made needs a folder; set ingest.path=PATH")
    files = listing(config.path, "ingest.path")
    inter = [path for path in files if path.suffix == INTERACTIONS]
    if len(inter) != 1:
        raise UserError(
            f"ingest.path: {config.path}: {len(inter)} files *{INTERACTIONS}, the layout has "
            "exactly one; correct the path"
        )
    names = {name for pair in FEATURES.values() for name in pair}
    others = {ITEM_IDS, USER_IDS, *names, *NEIGHBOURS.values()}
    found = inter + [path for path in files if path.name in others]
    if not any(path.name == ITEM_IDS for path in found):
        raise UserError(
            f"ingest.path: {config.path}: no {ITEM_IDS}; add it: a table of {LAYOUT_ITEM} and the "
            "raw id of each item"
        )
    return sorted(found)


def read(config: IngestConfig) -> Dataset:
    """Read and check all files of the layout.

    Raises:
        UserError: the fault, with file and line.
    """
    files = {path.name: path for path in layout_files(config)}
    asins = _raw_ids(files[ITEM_IDS], LAYOUT_ITEM)
    user_ids = _raw_ids(files[USER_IDS], LAYOUT_USER) if USER_IDS in files else None
    _report_others(files)
    (inter,) = (path for path in files.values() if path.suffix == INTERACTIONS)
    interactions, labels = _interactions(inter, user_ids, len(asins))
    if user_ids is None:
        user_ids = [str(user) for user in range(int(interactions.user.max()) + 1)]
    given = Given(
        labels,
        {
            modality: _vectors(files[name], len(asins))
            for modality in FEATURES
            if (name := _feature_file(files, modality))
        },
        {
            modality: _neighbours(files[name], len(asins))
            for modality, name in NEIGHBOURS.items()
            if name in files
        },
    )
    return Dataset(
        interactions,
        pa.array(user_ids, pa.large_string()),
        pa.array(asins, pa.large_string()),
        reading=Reading(1, len(interactions), Counter({NAME: len(interactions)})),
        given=given,
    )


def _feature_file(files: Mapping[str, Path], modality: str) -> str | None:
    """The name of the file with the vectors of a modality.

    Raises:
        UserError: there are two.
    """
    found = [name for name in FEATURES[modality] if name in files]
    if len(found) > 1:
        raise UserError(f"{files[found[1]]}: {found[0]} holds the same; remove one of them")
    return found[0] if found else None


def _report_others(files: Mapping[str, Path]) -> None:
    """Log the files beside these that look like features, but are not read."""
    folder = files[ITEM_IDS].parent
    beside = [path.name for path in listing(folder, "ingest.path") if path.name not in files]
    others = [name for name in beside if Path(name).suffix in LIKE_FEATURES]
    if others:
        expected = [name for names in FEATURES.values() for name in names[:1]]
        LOG.warning(
            "%s: not read: %s; the layout has one array of a row for each item in %s, and %s",
            folder,
            ", ".join(others),
            ", ".join(expected),
            ", ".join(NEIGHBOURS.values()),
        )


def _raw_ids(path: Path, number: str) -> list[str]:
    """The raw ids in the order of their numbers, which must be 0, 1, 2, ... in any order."""
    table = Delimited.read(path, required=(number,))
    ids = table.integers(number, below=len(table))
    table.refuse_first(_repeats(ids), f"{number} occurs twice")
    others = [name for name in table.names if name != number]
    if len(others) != 1:
        raise UserError(f"{path}, line 1: expected {number} and one more column, found {others}")
    names = table.strings(others[0])
    table.refuse_first(names == "", f"{others[0]} is empty")
    table.refuse_first(_repeats(names), f"{others[0]} occurs twice")
    ordered: list[str] = names[np.argsort(ids)].tolist()
    return ordered


def _interactions(
    path: Path, user_ids: list[str] | None, items: int
) -> tuple[Interactions, NDArray[np.int8]]:
    table = Delimited.read(
        path, required=(LAYOUT_USER, LAYOUT_ITEM, LAYOUT_SPLIT), others=OTHER_NAMES
    )
    user = table.integers(LAYOUT_USER, MAX_ROWS if user_ids is None else len(user_ids))
    if user_ids is None and len(user) and user.max() >= 10 * len(user):
        # Users are rows of every table, so a wrong id could take gigabytes.
        table.refuse_first(user >= 10 * len(user), f"{LAYOUT_USER} is too large for the file")
    item = table.integers(LAYOUT_ITEM, items)
    labels = table.codes(LAYOUT_SPLIT, LABELS)
    order = np.lexsort((item, user))
    twice = np.zeros(len(order), dtype=bool)
    twice[order[1:]] = (np.diff(user[order]) == 0) & (np.diff(item[order]) == 0)
    table.refuse_first(twice, f"the pair of {LAYOUT_USER} and {LAYOUT_ITEM} occurs twice")
    for value, name in columns.SPLIT_NAMES.items():
        if value not in labels:
            raise UserError(
                f"{path}: no row has {LAYOUT_SPLIT} {value} ({name}); the layout needs rows of "
                "train, validation and test: relabel some rows"
            )
    interactions = Interactions(
        user.astype(np.int32), item.astype(np.int32), _ratings(table), _timestamps(table)
    )
    return interactions.take(order), labels[order]


def _ratings(table: Delimited) -> NDArray[np.float32]:
    """(N,) stars; NaN where absent."""
    rating = table.numbers(RATING)
    table.refuse_first(np.abs(rating) > LARGEST_RATING, f"{RATING} is above {LARGEST_RATING:g}")
    return rating.astype(np.float32)


def _timestamps(table: Delimited) -> NDArray[np.int64]:
    """(N,) ms since 1970, `NO_TIME` where absent. Each number shows its unit by its size."""
    time = table.numbers(TIMESTAMP)
    time = np.where(time < SECONDS_BELOW, time * 1000, time)
    table.refuse_first(
        (time < 0) | (time >= END_OF_TIME), f"{TIMESTAMP} is not within 1970 to 2100, in s or ms"
    )
    return np.where(np.isnan(time), NO_TIME, np.nan_to_num(time)).astype(np.int64)


def _repeats(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Mask of the values that occurred before."""
    _, first = np.unique(values, return_index=True)
    repeats = np.ones(len(values), dtype=bool)
    repeats[first] = False
    return repeats


def _vectors(path: Path, items: int) -> NDArray[np.float32]:
    """The (I, d) vectors of an array file."""
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except Exception as error:  # the header is Python source, so reading it may raise any error
        raise UserError(f"{path}: no NumPy array of numbers; correct the file") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise UserError(f"{path}: no NumPy array of numbers; correct the file")
    if array.ndim != 2 or len(array) != items or array.shape[1] == 0:
        raise UserError(
            f"{path}: shape {array.shape}, expected ({items}, d), a row for each of the {items:,} "
            f"items of {ITEM_IDS}; correct the file"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused
        vectors = np.ascontiguousarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UserError(f"{path}: row {bad[0]}: not all numbers are finite; correct the file")
    return vectors


def _neighbours(path: Path, items: int) -> pa.Table:
    """The known cosines as `columns.EDGES`, sorted; a cosine that is no number is read as 1.

    The tables' authors omit it if an item's ten nearest are exact duplicates of it.
    """
    names = (ITEM, NEIGHBOUR, COSINE)
    try:
        table = pq.read_table(path, columns=list(names))
        row, end = (pc.cast(table[name], pa.int64()).to_numpy() for name in names[:2])
        cosine = pc.cast(table[COSINE], pa.float64()).to_numpy().copy()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: expected a Parquet file with {', '.join(names)} ({reason}); correct the file"
        ) from error
    cosine[np.isnan(cosine)] = 1.0
    for bad, reason in (
        (_outside(row, items), f"{ITEM} is not within 0 to {items - 1}"),
        (_outside(end, items), f"{NEIGHBOUR} is not within 0 to {items - 1}"),
        (np.abs(cosine) > 1 + COSINE_SLACK, f"{COSINE} is not within -1 to 1"),
        (_repeats(row * items + end), "the pair occurs twice"),
    ):
        if bad.any():
            raise UserError(f"{path}: row {int(np.argmax(bad))}: {reason}; correct the file")
    kept = np.lexsort((end, row))
    kept = kept[row[kept] != end[kept]]
    edges = (row[kept], end[kept], np.clip(cosine[kept], -1, 1))
    arrays = [
        pa.array(values).cast(field.type)
        for values, field in zip(edges, columns.EDGES, strict=True)
    ]
    return pa.table(arrays, schema=columns.EDGES)


def _outside(ids: NDArray[np.int64], below: int) -> NDArray[np.bool_]:
    return (ids < 0) | (ids >= below)
