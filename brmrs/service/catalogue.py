"""The items of a run: names, categories, pictures, and the search in titles."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from brmrs.columns import (
    ASIN,
    BRAND,
    CATEGORIES,
    IMAGES,
    ITEM,
    ITEMS,
    SHA256,
    TITLE,
    item_name,
)
from brmrs.errors import UserError
from brmrs.store.tables import read_table


@dataclass(frozen=True)
class Catalogue:
    """The items of a run; position i is item i.

    Attributes:
        ids: raw ids.
        titles: the title, else brand and category with the id.
        brands: "" if unknown.
        categories: from the broadest to the most specific.
        pictures: SHA-256 of the picture; None without one.
        suffix: of the addresses of pictures, such as "?run=NAME".
    """

    ids: Sequence[str]
    titles: list[str]
    brands: list[str]
    categories: list[list[str]]
    pictures: list[str | None]
    suffix: str = ""

    def card(self, item: int) -> dict[str, Any]:
        """An item as answers show it."""
        asin, categories = self.ids[item], self.categories[item]
        has_picture = self.pictures[item] is not None
        return {
            "item": asin,
            "title": self.titles[item],
            "brand": self.brands[item] or None,
            "category": categories[-1] if categories else None,
            "picture": f"/v1/pictures/{quote(asin, safe='')}{self.suffix}" if has_picture else None,
        }

    @cached_property
    def by_category(self) -> dict[str, np.ndarray]:
        """(n,) int64 items of each category, of any level."""
        found: dict[str, list[int]] = {}
        for item, names in enumerate(self.categories):
            for name in dict.fromkeys(names):
                found.setdefault(name, []).append(item)
        return {name: np.array(items) for name, items in found.items()}

    @cached_property
    def _folded(self) -> pa.Array:
        """Titles, brands and ids without differences of case."""
        texts = zip(self.titles, self.brands, self.ids, strict=True)
        return pa.array(["\n".join(parts).casefold() for parts in texts], pa.large_string())

    def search(self, query: str, limit: int) -> list[int]:
        """Items whose title, brand or id contains every word; titles that start so come first.

        Args:
            query: words, compared without case.
            limit: of the items.
        """
        words = query.casefold().split()
        if not words:
            return []
        hits = None
        for word in words:
            found = pc.match_substring(self._folded, word)
            hits = found if hits is None else pc.and_(hits, found)
        items = np.flatnonzero(np.asarray(hits))
        starts = pc.starts_with(self._folded.take(pa.array(items)), " ".join(words))
        order = np.argsort(~np.asarray(starts), kind="stable")
        return [int(item) for item in items[order][:limit]]


def read(
    items: Path, ids: Sequence[str], pictures: list[str | None], suffix: str = ""
) -> Catalogue:
    """Read `items.parquet` for the items of a bundle.

    Args:
        items: the file.
        ids: (I,) raw ids of the bundle.
        pictures: (I,) SHA-256 of the pictures.
        suffix: see `Catalogue`.

    Raises:
        UserError: the file cannot be read, or has other items.
    """
    names = [ASIN, TITLE, BRAND, CATEGORIES]
    table = read_table(items, ITEMS, names)
    rows = [table[name].to_pylist() for name in names]
    if rows[0] != list(ids):
        raise UserError(f"{items}: its items are not those of the model; run the pipeline again")
    categories = [[name for name in each or () if name] for each in rows[3]]
    titles = [item_name(*row) for row in zip(*rows[:3], categories, strict=True)]
    return Catalogue(ids, titles, rows[2], categories, pictures, suffix)


def read_pictures(table: Path, n_items: int) -> list[str | None]:
    """(I,) SHA-256 of the items' pictures from `images.parquet`; None without a picture.

    Raises:
        UserError: the file cannot be read, or has another number of items.
    """
    read = read_table(table, IMAGES, [ITEM, SHA256])
    if read[ITEM].to_pylist() != list(range(n_items)):
        raise UserError(f"{table}: its items are not those of the model; run the pipeline again")
    found: list[str | None] = read[SHA256].to_pylist()
    return found
