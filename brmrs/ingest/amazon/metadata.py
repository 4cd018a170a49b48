"""Metadata of the three public generations.

A field is read under each of its names in every generation:

| | 2014 | 2018 | 2023 |
|---|---|---|---|
| written as | Python literals | JSON | JSON |
| id | `asin` | `asin` | `parent_asin` |
| description | `description` | `description`, `feature` | `description`, `features` |
| brand | `brand` | `brand` | `store`, else `details.Brand` |
| categories | `categories`, nested | `category` | `categories` |
| else | | `main_cat` | `main_category` |
| pictures | `imUrl` | `imageURLHighRes`, `imageURL`, `image` | `images`: objects by size |

Exports of other libraries are read as well: lists and objects written as JSON text, and an object
of lists in place of a list of objects.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from brmrs.config.data import IngestConfig
from brmrs.ingest.amazon.literals import literal
from brmrs.ingest.amazon.records import (
    Kind,
    RejectedError,
    identifier,
    json_object,
    literal_object,
    read,
)
from brmrs.ingest.clean import cleaned, is_address, is_script, leaves, texts
from brmrs.ingest.dataset import Item
from brmrs.ingest.gathering import Gathering

SIZES = ("hi_res", "large", "thumb")  # of a picture of 2023, best first
ONLY_2023 = {"parent_asin", "images", "store", "features", "main_category"}
Row = dict[str, Any]


class MetadataLine(NamedTuple):
    """A line before its texts are cleaned. Most dumps describe many items without reviews."""

    asin: str
    generation: str
    row: Row


def parse(line: bytes) -> MetadataLine:
    """Read one line.

    Raises:
        RejectedError: it describes no item.
    """
    is_literal = line.lstrip()[:2] in (b"{'", b"{u")
    row = literal_object(line) if is_literal else json_object(line)
    if "user_id" in row or "reviewerID" in row:
        raise RejectedError("a review, not metadata", is_other=True)
    parent = row.get("parent_asin")
    asin = identifier(row.get("asin") if parent is None else parent, "item id")
    return MetadataLine(asin, _generation(row, is_literal), row)


METADATA = Kind(
    field="ingest.metadata",
    expected=(
        "one object per line: a Python literal with asin (2014), JSON with asin (2018) "
        "or parent_asin (2023)"
    ),
    parse=parse,
)


def read_items(files: Sequence[Path], config: IngestConfig, rows: Gathering) -> None:
    """Add the rows of metadata files.

    Raises:
        UserError: a file cannot be read or is no dump, or too many lines are bad.
    """
    lines = read(files, METADATA, config.max_bad_share, rows.reading, config.allow_truncated)
    read_lines(lines, rows)


def read_lines(lines: Iterable[MetadataLine], rows: Gathering) -> None:
    """Add the rows of some lines."""
    for line in lines:
        rows.reading.generations[line.generation] += 1
        rows.add(line.asin, partial(describe, line.row, rows.reading.unusable))


def describe(row: Row, unusable: Counter[str] | None = None) -> Item:
    """The item's texts, cleaned, and its picture addresses in the order to try them.

    Args:
        row: of the metadata.
        unusable: counts, by field, the values of a wrong type, which are left out.
    """
    fields = _Fields(row, Counter() if unusable is None else unusable)
    return Item(
        title=fields.title(),
        description=" ".join(fields.texts("description", "features", "feature")),
        brand=fields.first("store", "brand") or fields.brand_in_details(),
        categories=tuple(dict.fromkeys(fields.categories())),
        image_urls=tuple(dict.fromkeys(fields.addresses())),
    )


class _Fields(NamedTuple):
    """The fields of a row, which counts values of a wrong type."""

    row: Row
    unusable: Counter[str]

    def texts(self, *names: str) -> list[str]:
        """All texts of these fields, in order."""
        found: list[str] = []
        for name in names:
            values = list(leaves(_decoded(self.row.get(name))))
            found += cleaned(values)
            if not all(isinstance(leaf, str) for leaf in values):
                self.unusable[name] += 1
        return found

    def first(self, *names: str) -> str:
        """The first text of the first of these fields that has one."""
        return next((found[0] for name in names if (found := self.texts(name))), "")

    def title(self) -> str:
        title = self.row.get("title")
        return "" if isinstance(title, str) and is_script(title) else self.first("title")

    def brand_in_details(self) -> str:
        details = _decoded(self.row.get("details"))
        if not isinstance(details, dict):
            if details:
                self.unusable["details"] += 1
            return ""
        return next(iter(texts(details.get("Brand"))), "")

    def categories(self) -> list[str]:
        for names in (("categories",), ("category",)):
            if found := self.texts(*names):
                return found
        name = self.first("main_category", "main_cat")
        return [name] if name else []

    def addresses(self) -> Iterator[str]:
        for name in ("imUrl", "imageURLHighRes", "imageURL", "image", "images"):
            for address in leaves(_pictures(_decoded(self.row.get(name)))):
                if is_address(address):
                    yield address
                elif address:
                    self.unusable[name] += 1


def _generation(row: Row, is_literal: bool) -> str:
    if row.keys() & ONLY_2023:
        return "2023"
    return "2014" if is_literal or "imUrl" in row else "2018"


def _decoded(value: Any) -> Any:
    """The list or object that a text contains as JSON, as in exports; else the value itself."""
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    for load in (orjson.loads, literal):
        try:
            found = load(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, list | dict):
            return found
    return value


def _pictures(value: Any) -> Any:
    """Addresses in lists: of each object its sizes, best first; the main picture first."""
    if isinstance(value, dict):
        value = _objects(value)
    if not isinstance(value, list):
        return value
    ordered = sorted(
        value, key=lambda each: isinstance(each, dict) and each.get("variant") != "MAIN"
    )
    return [
        [each.get(size) for size in SIZES] if isinstance(each, dict) else each for each in ordered
    ]


def _objects(lists: Row) -> list[Row]:
    """{"large": [a, b]} to [{"large": a}, {"large": b}]; a value that is no list counts once."""
    columns = [value if isinstance(value, list) else [value] for value in lists.values()]
    return [dict(zip(lists, values, strict=True)) for values in zip_longest(*columns)]
