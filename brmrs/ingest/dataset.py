"""The protocol of dump formats, and the data that they give to the stage `ingest`."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.interactions import NO_TIME, Interactions

Value = TypeVar("Value", str, tuple[str, ...])


class Item(NamedTuple):
    """The text and the pictures of an item; "" and () where unknown.

    Attributes:
        title: plain text.
        description: plain text.
        brand: plain text.
        categories: plain texts, from the general to the special one.
        image_urls: http(s) addresses, or names of files in the folder of pictures, in the order to
            try them.
    """

    title: str = ""
    description: str = ""
    brand: str = ""
    categories: tuple[str, ...] = ()
    image_urls: tuple[str, ...] = ()

    @property
    def has_text(self) -> bool:
        """Whether any text field is present."""
        return any((self.title, self.description, self.brand, self.categories))

    def merged(self, other: "Item") -> "Item":
        """Merge two rows into the longer value of each field, independent of their order."""
        return Item(
            _longer(self.title, other.title),
            _longer(self.description, other.description),
            _longer(self.brand, other.brand),
            _longer(self.categories, other.categories),
            _longer(self.image_urls, other.image_urls),
        )


def _longer(one: Value, other: Value) -> Value:
    """The longer value; of equally long ones the one that is sorted last."""
    return max(one, other, key=lambda value: (len(value), value))


class BadLine(NamedTuple):
    """A line that was left out: a row of the quarantine."""

    file: str  # name, not path
    line: int  # from 1
    reason: str
    content: str  # its first characters


@dataclass
class Reading:
    """Counts of what was read from the files of one kind.

    Attributes:
        files: number of files.
        lines: number of lines that are not blank.
        generations: number of good lines by layout ("2014", "2018", "2023").
        quarantine: the lines that were left out, in the order of reading.
        unusable: number of values of a wrong type, which count as absent, by field.
        notes: further counts, by name.
        columns: of tables, by file: role to the name of the column.
        not_read: of tables, by file: the other columns.
    """

    files: int = 0
    lines: int = 0
    generations: Counter[str] = field(default_factory=Counter)
    quarantine: list[BadLine] = field(default_factory=list)
    unusable: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    not_read: dict[str, list[str]] = field(default_factory=dict)

    def absorb(self, other: "Reading") -> None:
        """Add the counts of other files, read after these."""
        self.files += other.files
        self.lines += other.lines
        self.generations += other.generations
        self.quarantine += other.quarantine
        self.unusable += other.unusable
        self.notes.update(other.notes)

    def reasons(self) -> dict[str, int]:
        """The number of bad lines by reason."""
        return dict(Counter(bad.reason for bad in self.quarantine))

    def statistics(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {
            "files": self.files,
            "lines": self.lines,
            "generations": dict(self.generations),
            "quarantined": self.reasons(),
            "unusable_fields": dict(sorted(self.unusable.items())),
            **({"columns": self.columns} if self.columns else {}),
            **({"not_read": self.not_read} if self.not_read else {}),
            **self.notes,
        }


def check_share(field: str, max_bad_share: float, reading: Reading) -> None:
    """Check the share of bad lines so far.

    Raises:
        UserError: it is above `max_bad_share`.
    """
    bad = len(reading.quarantine)
    if bad <= max_bad_share * reading.lines:
        return
    first = reading.quarantine[0]
    raise UserError(
        f"{field}: {bad:,} of {reading.lines:,} lines cannot be used, more than "
        f"ingest.max_bad_share = {max_bad_share:g}; the first is {first.file}, line {first.line}: "
        f"{first.reason}; correct the dump, or raise ingest.max_bad_share"
    )


@dataclass(frozen=True)
class Descriptions:
    """Items and how they were read.

    Attributes:
        items: one for each id that was asked for, in that order.
        reading: counts of the metadata files.
        features: vectors that the data include, by modality: (I, d) float32, a row for each of
            `items`; a row of zeros is an item without a vector.
    """

    items: list[Item]
    reading: Reading = field(default_factory=Reading)
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def no_descriptions(asins: list[str]) -> Descriptions:
    """Items without text and pictures."""
    return Descriptions([Item()] * len(asins))


@dataclass(frozen=True)
class Given:
    """The parts of a data set that the pipeline computes where the data do not include them.

    Attributes:
        labels: (N,) int8, the split of each interaction; None: the stage `split` makes it.
        features: (I, d) float32 by modality.
        neighbours: kNN tables of `columns.EDGES` by modality, without self loops.
    """

    labels: NDArray[np.int8] | None = None
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    neighbours: Mapping[str, pa.Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """All that a format reads from its files.

    Attributes:
        interactions: codes index `user_ids` and `asins`. A pair may repeat, in any order of rows.
        user_ids: U distinct raw ids.
        asins: I distinct raw ids of items.
        describe: the items of some raw ids. It is called once, for the items of the k-core, so that
            a format need not hold the texts of all others in memory.
        reading: counts of the interaction files.
        given: None: the stage keeps the latest of repeated pairs, applies `ingest.min_rating` and
            the k-core, and sorts ids. Otherwise it has labels, interactions are sorted by user and
            item, no pair repeats, and the stage keeps all rows and ids as they are.
    """

    interactions: Interactions
    user_ids: pa.LargeStringArray
    asins: pa.LargeStringArray
    describe: Callable[[list[str]], Descriptions] = no_descriptions
    reading: Reading = field(default_factory=Reading)
    given: Given | None = None

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[tuple[str, str, float | None, int | None]],
        items: Mapping[str, Item] | None = None,
        reading: Reading | None = None,
    ) -> "Dataset":
        """A data set of few rows, which fit in memory as Python objects.

        Args:
            rows: raw user id, raw item id, stars (None: absent), time in ms (None: absent).
            items: by raw id; an item that is missing here has no text and no pictures.
            reading: counts of the files.
        """
        users: dict[str, int] = {}
        asins: dict[str, int] = {}
        table = [
            (users.setdefault(user, len(users)), asins.setdefault(item, len(asins)), stars, time)
            for user, item, stars, time in rows
        ]
        known = items or {}
        return cls(
            Interactions(
                np.array([row[0] for row in table], dtype=np.int32),
                np.array([row[1] for row in table], dtype=np.int32),
                np.array([np.nan if row[2] is None else row[2] for row in table], dtype=np.float32),
                np.array([NO_TIME if row[3] is None else row[3] for row in table], dtype=np.int64),
            ),
            pa.array(list(users), pa.large_string()),
            pa.array(list(asins), pa.large_string()),
            lambda ids: Descriptions([known.get(asin, Item()) for asin in ids]),
            reading or Reading(),
        )


class DumpFormat(Protocol):
    """A layout of files, registered by `@register("name", "dump format")` in front of a class.

    The class is called without arguments.

    Attributes:
        fields: the fields of the section `ingest` that the format reads, beside those that hold
            for every format (`k`, `min_rating`). `path`, `reviews` or `metadata` without an effect
            are refused.
    """

    fields: Collection[str]

    def sniff(self, paths: Sequence[Path]) -> IngestConfig | None:
        """The configuration that reads these files and folders; None: they have another layout.

        Reads a bounded number of bytes.
        """
        ...

    def read(self, config: IngestConfig) -> Dataset:
        """Read the configured files.

        Raises:
            UserError: a file is missing or unreadable, or holds something else.
        """
        ...

    def fingerprint(self, config: IngestConfig) -> dict[str, list[Path]]:
        """Every file that `read` opens, by the field that names it: `reviews`, `metadata`, `path`.

        Their digests enter the cache key. Files of `path` count with their names, those of the
        other fields only by content.

        Raises:
            UserError: a file is missing.
        """
        ...
