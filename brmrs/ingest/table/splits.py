"""Splits that tables include: files of the official 2023 splits, or a column."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brmrs.columns import SPLIT_NAMES, TEST, TRAIN, VALIDATION
from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.dataset import Given
from brmrs.ingest.interactions import Interactions

# Sports.train.csv.gz; train.csv
OF_NAME = re.compile(
    r"(?:.*[._-])?(train|valid|validation|val|test)\.(?:csv|tsv|inter|jsonl|parquet)(?:\.\w+)?",
    re.IGNORECASE,
)
PARTS = {"train": TRAIN, "valid": VALIDATION, "validation": VALIDATION, "val": VALIDATION}


def part_of(path: Path) -> int | None:
    """The part of a split that a file is by its name; None for any other name."""
    match = OF_NAME.fullmatch(path.name)
    return PARTS.get(match[1].lower(), TEST) if match else None


def of_files(paths: Sequence[Path]) -> dict[Path, int]:
    """The part of each file, if all files are parts; else empty.

    Raises:
        UserError: a part is missing.
    """
    found = {path: part for path in paths if (part := part_of(path)) is not None}
    if len(found) < len(paths):
        return {}
    for value, name in SPLIT_NAMES.items():
        if value not in found.values():
            raise UserError(
                f"ingest.interactions: no file of the {name} part beside "
                f"{', '.join(path.name for path in paths)}; name all three, or rename the files"
            )
    return found


def given(
    found: Interactions, labels: NDArray[np.int8], config: IngestConfig
) -> tuple[Interactions, Given]:
    """The interactions sorted by user and item, each pair once, and their labels.

    Of a pair that repeats, the row of the earliest part stays: an item that a user trains on is
    never recommended to the user. Within a part the latest row stays.

    Raises:
        UserError: a part has no row, or a setting would have no effect.
    """
    for field in ("k", "min_rating"):
        if getattr(config, field) not in (IngestConfig.model_fields[field].default, 0):
            raise UserError(
                f"ingest.{field} would have no effect: the tables include a split, which is kept "
                "as given; leave it out"
            )
    for value, name in SPLIT_NAMES.items():
        if value not in labels:
            raise UserError(f"ingest.interactions: the split has no {name} rows; add some")
    order = np.lexsort((found.rating, -found.timestamp, labels, found.item, found.user))
    user, item = found.user[order], found.item[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(user) != 0) | (np.diff(item) != 0)
    kept = order[first]
    return found.take(kept), Given(labels[kept])
