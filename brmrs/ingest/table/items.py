"""Items of tables: titles, texts, brands, categories, and pictures by name or address."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import orjson
import polars as pl

from brmrs.config.data import IngestConfig
from brmrs.ingest.clean import is_address, leaves, texts
from brmrs.ingest.dataset import Descriptions, Item
from brmrs.ingest.gathering import Gathering
from brmrs.ingest.table import names
from brmrs.ingest.table.head import Head
from brmrs.ingest.table.names import Named
from brmrs.ingest.table.reading import Tables
from brmrs.ingest.table.values import stripped

FIELD = "ingest.items"
MAX_NAME = 1024  # characters of a picture's name
BETWEEN_CATEGORIES = re.compile(r"\s*[|>]\s*")
BETWEEN_PICTURES = re.compile(r"\s*\|\s*|[\s,;]+(?=https?://)")
Row = Mapping[str, str | None]


def read(config: IngestConfig, asins: list[str]) -> Descriptions:
    """The items of these ids.

    Raises:
        UserError: a file cannot be read, or too many rows are bad.
    """
    rows = Gathering(asins, "tables of items")
    tables = Tables(FIELD, config.items, config)
    if tables.heads:
        names.refuse_missing(tables.heads, config.columns, names.OF_ITEMS)
    tables.reading.notes.update(rows.reading.notes)
    rows.reading = tables.reading
    wanted = pl.Series(asins, dtype=pl.String)
    for head in tables.heads:
        named = names.items(head, config.columns)
        tables.note(head, named)
        key = str(named.one("item_id"))
        for chunk in tables.chunks(head, named.all()):
            ids = chunk.frame.select(stripped(key)).to_series()
            for line in chunk.lines[ids.is_null().to_numpy()].tolist():
                tables.reject(head.path, line, "no item id", "")
            tables.count(len(ids) - ids.null_count())
            known = ids.is_in(wanted.implode())
            for other in ids.filter(~known).drop_nulls():
                rows.add(other, Item)
            described = chunk.frame.filter(known)
            for asin, row in zip(ids.filter(known), described.iter_rows(named=True), strict=True):
                rows.add(asin, partial(_item, row, named, head))
    tables.end()
    return rows.finish()


def _item(row: Row, named: Named, head: Head) -> Item:
    categories = [
        text
        for column in named.columns.get("categories", ())
        for text in _categories(row[column], head.types.get(column, ""))
    ]
    description = [
        text for column in named.columns.get("text", ()) for text in texts(_decoded(row[column]))
    ]
    return Item(
        title=_first(row, named.one("title")),
        description=" ".join(description),
        brand=_first(row, named.one("brand")),
        categories=tuple(dict.fromkeys(categories)),
        image_urls=tuple(
            dict.fromkeys(
                picture
                for column in named.columns.get("pictures", ())
                for picture in _pictures(row[column])
            )
        ),
    )


def _first(row: Row, column: str | None) -> str:
    return next(iter(texts(_decoded(row[column]))), "") if column else ""


def _decoded(value: str | None) -> Any:
    """The list that a text contains as JSON; else the text."""
    if value is None or value[:1] != "[":
        return value
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    return found if isinstance(found, list) else value


def _categories(value: str | None, recbole_type: str) -> list[str]:
    found = _decoded(value)
    if isinstance(found, str):
        # RecBole separates the parts of a sequence by blanks.
        found = found.split() if recbole_type == "token_seq" else BETWEEN_CATEGORIES.split(found)
    return texts(found)


def _pictures(value: str | None) -> Iterator[str]:
    """Addresses and names of files; never used as paths (see `brmrs.images.folder`)."""
    found = _decoded(value)
    parts = BETWEEN_PICTURES.split(found) if isinstance(found, str) else list(leaves(found))
    for part in parts:
        text = part.strip() if isinstance(part, str) else ""
        text = f"https:{text}" if text.startswith("//") else text
        is_name = 0 < len(text) <= MAX_NAME and text.isprintable() and "://" not in text
        if is_address(text) or (is_name and texts(text)):
            yield text
