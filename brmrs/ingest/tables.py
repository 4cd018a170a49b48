"""The tables that the stage `ingest` writes, and the statistics of the interactions it keeps."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brmrs import columns
from brmrs.ingest.clean import is_address
from brmrs.ingest.dataset import BadLine, Item, Reading
from brmrs.ingest.interactions import NO_TIME, Interactions

GROUP = 1 << 20  # rows of a row group; that of items is smaller, because of the texts
ITEMS_GROUP = 1 << 16
ITEMS_WITH = ("title", "description", "text", "image_address", "image_name")
Ids: TypeAlias = Sequence[str] | pa.LargeStringArray


class GroupedWriter:
    """Writes a Parquet file in row groups of one size, whatever the sizes of the parts.

    Used as a context manager. Empty parts write an empty table.

    Args:
        path: the file.
        schema: of the table.
        group: rows of every row group but the last.
    """

    def __init__(self, path: Path, schema: pa.Schema, group: int = GROUP) -> None:
        self.schema, self.group = schema, group
        self.rows = 0  # added so far
        self._writer = pq.ParquetWriter(path, schema)
        self._waiting = schema.empty_table()

    def add(self, **values: object) -> None:
        """Add columns by name, of equal length."""
        part = pa.table(values, schema=self.schema)
        self.rows += len(part)
        waiting = pa.concat_tables([self._waiting, part])
        while len(waiting) >= self.group:
            self._write(waiting.slice(0, self.group))
            waiting = waiting.slice(self.group)
        self._waiting = waiting

    def _write(self, table: pa.Table) -> None:
        self._writer.write_table(table.combine_chunks(), row_group_size=self.group)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and (len(self._waiting) or not self.rows):
            self._write(self._waiting)
        self._writer.close()


def interactions_columns(interactions: Interactions) -> dict[str, object]:
    """The columns of `columns.INTERACTIONS`."""
    absent = interactions.timestamp == NO_TIME
    return {
        columns.USER: interactions.user,
        columns.ITEM: interactions.item,
        columns.RATING: pa.array(interactions.rating, from_pandas=True),  # NaN: null
        columns.TIMESTAMP: pa.array(interactions.timestamp, mask=absent),
    }


def users_columns(user_ids: Ids, first: int = 0) -> dict[str, object]:
    """The columns of `columns.USERS`, of consecutive users."""
    return {columns.USER: _numbers(first, len(user_ids)), columns.USER_ID: user_ids}


def items_columns(asins: Ids, items: Sequence[Item], first: int = 0) -> dict[str, object]:
    """The columns of `columns.ITEMS`, of consecutive items."""
    return {
        columns.ITEM: _numbers(first, len(items)),
        columns.ASIN: asins,
        columns.TITLE: [item.title for item in items],
        columns.DESCRIPTION: [item.description for item in items],
        columns.BRAND: [item.brand for item in items],
        columns.CATEGORIES: [item.categories for item in items],
        columns.IMAGE_URLS: [item.image_urls for item in items],
    }


def write_quarantine(path: Path, bad: Iterable[BadLine]) -> None:
    """Write the lines that were left out, sorted."""
    lines = sorted(bad)
    with GroupedWriter(path, columns.QUARANTINE) as table:
        table.add(
            **{
                columns.FILE: [line.file for line in lines],
                columns.LINE: [line.line for line in lines],
                columns.REASON: [line.reason for line in lines],
                columns.CONTENT: [line.content for line in lines],
            }
        )


def _numbers(first: int, count: int) -> Any:
    return np.arange(first, first + count, dtype=np.int32)


def fields_of(item: Item) -> tuple[bool, ...]:
    """Whether an item has each of `ITEMS_WITH`."""
    addresses = [is_address(each) for each in item.image_urls]
    return (
        bool(item.title),
        bool(item.description),
        item.has_text,
        any(addresses),
        not all(addresses),
    )


@dataclass
class CoreStatistics:
    """Counts of the interactions and items that the stage keeps, added part by part."""

    ratings: Counter[float] = field(default_factory=Counter)
    items_with: Counter[str] = field(default_factory=Counter)
    first: int | None = None  # ms
    last: int | None = None  # ms
    unknown: int = 0

    def add(self, interactions: Interactions) -> Self:
        """Count interactions."""
        rating = interactions.rating
        stars, counts = np.unique(rating[~np.isnan(rating)], return_counts=True)
        self.ratings.update(dict(zip(stars.tolist(), counts.tolist(), strict=True)))
        times = interactions.timestamp[interactions.timestamp != NO_TIME]
        self.unknown += len(interactions) - len(times)
        if len(times):
            low, high = int(times.min()), int(times.max())
            self.first = low if self.first is None else min(self.first, low)
            self.last = high if self.last is None else max(self.last, high)
        return self

    def add_items(self, items: Iterable[Item]) -> Self:
        """Count items."""
        for item in items:
            for name, has in zip(ITEMS_WITH, fields_of(item), strict=True):
                self.items_with[name] += has
        return self

    def values(self, sizes: Mapping[str, int]) -> dict[str, Any]:
        """The counts as JSON values, with the sizes of the core."""
        return {
            **sizes,
            "sparsity": 1 - sizes["interactions"] / (sizes["users"] * sizes["items"]),
            "items_with": {name: self.items_with[name] for name in ITEMS_WITH},
            "ratings": {f"{star:g}": count for star, count in sorted(self.ratings.items())},
            "time": {  # milliseconds since 1970-01-01 UTC
                "first": self.first,
                "last": self.last,
                "unknown": self.unknown,
            },
        }


def statistics(
    reviews: Reading,
    metadata: Reading,
    before: Mapping[str, int],
    cores: Sequence[Mapping[str, int]],
    core: Mapping[str, Any],
    *,
    k: int,
    duplicates: int = 0,
    below_min_rating: int = 0,
) -> dict[str, Any]:
    """The statistics of the stage, JSON values.

    Args:
        reviews: counts of the interaction files.
        metadata: counts of the files that describe items.
        before: sizes before the k-core.
        cores: sizes of the cores of each k.
        core: `CoreStatistics.values`.
        k: of the core that is kept.
        duplicates: interactions of a pair that has a later one.
        below_min_rating: pairs below the minimum rating.
    """
    return {
        "reviews": {
            **reviews.statistics(),
            "below_min_rating": below_min_rating,
            "duplicates": duplicates,
        },
        "metadata": {"duplicates": 0, "never_reviewed": 0, **metadata.statistics()},
        "before_k_core": dict(before),
        "cores": list(cores),
        "k": k,
        **core,
    }
