"""Tiles: an item's picture, title, brand and category."""

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from brmrs import columns
from brmrs.errors import UserError
from brmrs.images.decode import to_rgb
from brmrs.images.picture_store import TABLE, stored_files
from brmrs.report.inputs import Inputs
from brmrs.store.tables import read_table

THUMBNAIL = 128  # pixels; shown at 96 to 110
QUALITY = 78  # of JPEG; a thumbnail has about 4 kB
MOST_CHARACTERS = 3_000_000  # of all pictures, so that the page has less than 5 MB


@dataclass(frozen=True)
class Card:
    """An item on the page.

    Attributes:
        title: or the item id without a title.
        kind: brand and most specific category; "" if neither is known.
        picture: a data URL, or "" without a picture; the tile then shows its text larger.
        mark: why it is framed, such as "in test"; "" for no frame.
        note: scores.
    """

    title: str
    kind: str
    picture: str
    mark: str = ""
    note: Markup | str = ""


class Gallery:
    """The cards of items."""

    def __init__(self, inputs: Inputs):
        named = [columns.ASIN, columns.TITLE, columns.BRAND, columns.CATEGORIES]
        self._items = inputs.items.select(named)
        self._files: dict[str, Path] = {}
        self._digests: list[str | None] = [None] * len(self._items)
        self._cards: dict[int, Card] = {}
        self._room = MOST_CHARACTERS
        self.left_out = 0  # pictures that would have made the page too large
        if folder := inputs.paths.get("images"):
            self._files = stored_files(folder)
            table = read_table(folder / TABLE, columns.IMAGES, [columns.SHA256])
            self._digests = table[columns.SHA256].to_pylist()

    def card(self, item: int, *, mark: str = "", note: Markup | str = "") -> Card:
        """The item's card."""
        if item not in self._cards:
            asin, title, brand, categories = self._items.row(item)
            name = columns.item_name(asin, title, brand, categories)
            specific = next((each for each in reversed(categories) if each), "")
            words = [each for each in (brand, specific) if each and title]
            self._cards[item] = Card(name, " · ".join(words), self._thumbnail(item))
        card = replace(self._cards[item], mark=mark, note=note)
        if len(card.picture) > self._room:
            self.left_out += 1
            return replace(card, picture="")
        self._room -= len(card.picture)
        return card

    def _thumbnail(self, item: int) -> str:
        digest = self._digests[item]
        if digest is None:
            return ""
        if digest not in self._files:
            raise UserError(
                f"the picture of item {item} is missing in the artifact of the stage images; "
                "brmrs run --refresh images"
            )
        upright = to_rgb(self._files[digest].read_bytes())
        upright.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        upright.save(buffer, "JPEG", quality=QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
