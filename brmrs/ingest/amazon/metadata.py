"""Metadata of the three public generations, told apart line by line by their fields.

| generation | written as | id | categories | brand | pictures |
|---|---|---|---|---|---|
| 2014 | Python literals | `asin` | `categories`, nested | `brand` | `imUrl` |
| 2018 | JSON | `asin` | `category` | `brand` | `imageURLHighRes`, `imageURL` |
| 2023 | JSON | `parent_asin` | `categories` | `store`, else `details.Brand` | `images`, objects |
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from brmrs.ingest.amazon.clean import first, strings
from brmrs.ingest.amazon.records import Kind, RejectedError, identifier, json_object, literal_object

MAX_ADDRESS = 2048  # characters
SIZES = ("hi_res", "large", "thumb")  # of a picture of 2023, best first
# Some titles of 2018 are the page's script; the data set's authors recognise them by this word.
SCRIPT = "getTime"


class MetadataLine(NamedTuple):
    """A line before the costly part of reading it; most dumps describe many unreviewed items."""

    asin: str
    generation: str
    row: dict[str, Any]


class Item(NamedTuple):
    """What an item's text and pictures are; "" and () where unknown."""

    title: str = ""
    description: str = ""
    brand: str = ""
    categories: tuple[str, ...] = ()
    image_urls: tuple[str, ...] = ()

    @property
    def has_text(self) -> bool:
        """Whether anything can be read."""
        return any((self.title, self.description, self.brand, self.categories))

    def fullness(self) -> tuple[int, int, "Item"]:
        """Orders rows of the same item; the greatest is kept, whatever the order they come in."""
        text = len(self.title) + len(self.description) + len(self.brand) + len(self.categories)
        return sum(map(bool, self)), text + len(self.image_urls), self


def parse(line: bytes) -> MetadataLine:
    """Read one line.

    Raises:
        RejectedError: it describes no item.
    """
    is_literal = line.lstrip()[:2] in (b"{'", b"{u")
    row = literal_object(line) if is_literal else json_object(line)
    if "user_id" in row or "reviewerID" in row:
        raise RejectedError("a review, not metadata")
    if "parent_asin" in row:
        return MetadataLine(identifier(row["parent_asin"], "item id"), "2023", row)
    of_2014 = is_literal or "imUrl" in row
    return MetadataLine(identifier(row.get("asin"), "item id"), "2014" if of_2014 else "2018", row)


METADATA = Kind(
    field="ingest.metadata",
    expected=(
        "one object a line: a Python literal with asin (2014), JSON with asin (2018) "
        "or parent_asin (2023)"
    ),
    parse=parse,
)


def describe(line: MetadataLine) -> Item:
    """The item's texts, cleaned, and its picture addresses in the order to try them.

    Fields of a wrong type count as absent.
    """
    row = line.row
    title = row.get("title")
    if isinstance(title, str) and SCRIPT in title:
        title = ""
    of_2023 = line.generation == "2023"
    description = strings(row.get("description"))
    if of_2023:
        description += strings(row.get("features"))
    categories = strings(row.get("categories")) or strings(row.get("category"))
    return Item(
        title=first(title),
        description=" ".join(description),
        brand=_brand(row) if of_2023 else first(row.get("brand")),
        categories=tuple(dict.fromkeys(categories)) or _main_category(row),
        image_urls=tuple(dict.fromkeys(filter(_is_address, _addresses(row)))),
    )


def _brand(row: dict[str, Any]) -> str:
    details = row.get("details")
    return first(row.get("store")) or first(
        details.get("Brand") if isinstance(details, dict) else None
    )


def _main_category(row: dict[str, Any]) -> tuple[str, ...]:
    name = first(row.get("main_category")) or first(row.get("main_cat"))
    return (name,) if name else ()


def _addresses(row: dict[str, Any]) -> Iterator[Any]:
    yield row.get("imUrl")
    for field in ("imageURLHighRes", "imageURL"):
        value = row.get(field)
        yield from value if isinstance(value, list) else [value]
    images = row.get("images")
    pictures = (
        [image for image in images if isinstance(image, dict)] if isinstance(images, list) else []
    )
    for image in sorted(pictures, key=lambda image: image.get("variant") != "MAIN"):
        yield from (image.get(size) for size in SIZES)


def _is_address(value: object) -> bool:
    return (
        isinstance(value, str)
        and value.startswith(("http://", "https://"))
        and len(value) <= MAX_ADDRESS
        and value.isprintable()
    )
