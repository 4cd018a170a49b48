"""Metadata of all generations, and exports of them: each item as it was written."""

import json
from collections import Counter
from functools import reduce
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brmrs.ingest.amazon.metadata import MetadataLine, describe
from brmrs.ingest.amazon.metadata import parse as parse_metadata
from brmrs.ingest.amazon.records import MAX_LITERAL, RejectedError
from brmrs.ingest.clean import ABSENT
from brmrs.ingest.dataset import Item

ids = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30)
texts = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20).filter(
    lambda text: text not in ABSENT
)
addresses = st.text("abcXYZ019/_-.", max_size=20).map("http://h/".__add__)
items = st.builds(
    Item,
    title=texts,
    description=texts,
    brand=texts,
    categories=st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple),
    image_urls=st.lists(addresses, max_size=3, unique=True).map(tuple),
)


@given(ids, items)
def test_metadata_of_2014_are_read_as_written(asin: str, item: Item) -> None:
    item = item._replace(image_urls=item.image_urls[:1])
    row: dict[str, Any] = {"asin": asin, "title": item.title, "description": item.description}
    row |= {"brand": item.brand, "categories": [list(item.categories), list(item.categories)]}
    if item.image_urls:
        row["imUrl"] = item.image_urls[0]
    parsed = parse_metadata(repr(row).encode())
    assert parsed == MetadataLine(asin, "2014", row)
    assert describe(parsed.row) == item


@given(ids, items)
def test_metadata_of_2018_are_read_as_written(asin: str, item: Item) -> None:
    row = {"asin": asin, "title": item.title, "description": [item.description]}
    row |= {"brand": item.brand, "category": list(item.categories)}
    row |= {"imageURLHighRes": list(item.image_urls[:1]), "imageURL": list(item.image_urls[1:])}
    parsed = parse_metadata(orjson.dumps(row))
    assert parsed[:2] == (asin, "2018")
    assert describe(parsed.row) == item


@given(ids, items)
def test_metadata_of_2023_are_read_as_written(asin: str, item: Item) -> None:
    row: dict[str, Any] = {"parent_asin": asin, "description": [item.description]}
    row |= {"title": item.title}
    row |= {"features": [], "store": item.brand, "categories": list(item.categories)}
    row |= {"images": [{"thumb": url, "variant": "PT1"} for url in item.image_urls]}
    parsed = parse_metadata(orjson.dumps(row))
    assert parsed[:2] == (asin, "2023")
    assert describe(parsed.row) == item


def test_a_line_of_2014_with_escapes() -> None:
    line = rb"""{'asin': '0001', 'title': 'Dad\'s "best" caf\xe9', 'imUrl': None, 'price': 9.5,
        'salesRank': {'Books': 1}, 'categories': [['Books', 'Fiction'], ['Books', 'New']],
        'related': {'also_bought': ['B00']}, 'description': u'\ud83d\ude00 <b>ok</b>'}"""
    assert describe(parse_metadata(line.replace(b"\n", b"")).row) == Item(
        title='Dad\'s "best" café', description="😀 ok", categories=("Books", "Fiction", "New")
    )


def test_a_line_of_2023_with_everything() -> None:
    row = {
        "main_category": "All Beauty",
        "title": "Salt &amp; <i>Spray</i>",
        "features": ["Long lasting", "<p>Vegan</p>"],
        "description": ["First.", "Second."],
        "images": [
            {"thumb": "https://h/t2", "large": "https://h/l2", "hi_res": None, "variant": "PT01"},
            {"thumb": "https://h/t", "large": "https://h/l", "hi_res": "https://h/x",
             "variant": "MAIN"},
            "not an object",
        ],
        "store": None,
        "categories": [],
        "details": {"Brand": "Sea", "UPC": "1"},
        "parent_asin": "B01",
    }  # fmt: skip
    assert describe(parse_metadata(orjson.dumps(row)).row) == Item(
        title="Salt & Spray",
        description="First. Second. Long lasting Vegan",
        brand="Sea",
        categories=("All Beauty",),
        image_urls=("https://h/x", "https://h/l", "https://h/t", "https://h/l2", "https://h/t2"),
    )


def test_high_resolution_comes_first_in_2018_and_script_titles_are_none() -> None:
    row: dict[str, Any] = {"asin": "i", "brand": "B"}
    row |= {"title": "var aPageStart = (new Date()).getTime();"}
    row |= {"imageURL": ["http://h/s", "ftp://h/no"], "imageURLHighRes": ["http://h/x"]}
    assert describe(parse_metadata(orjson.dumps(row)).row) == Item(
        brand="B", image_urls=("http://h/x", "http://h/s")
    )


@pytest.mark.parametrize(
    "field", ["title", "description", "brand", "categories", "category", "images", "imageURL",
              "imageURLHighRes", "imUrl", "store", "details", "features", "main_category"],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, 5, True, {}, [], [[]], [None, {"a": []}], "", "\x00"])
@pytest.mark.parametrize("name", ["asin", "parent_asin"])
def test_fields_of_a_wrong_type_count_as_absent(field: str, value: object, name: str) -> None:
    assert describe(parse_metadata(orjson.dumps({name: "i", field: value})).row) == Item()


RAW_2023: dict[str, Any] = {
    "parent_asin": "i",
    "title": "T",
    "features": ["F1", "F2"],
    "description": ["D"],
    "images": [
        {"thumb": "http://h/t1", "large": "http://h/l1", "variant": "PT01", "hi_res": None},
        {"thumb": "http://h/t2", "large": "http://h/l2", "variant": "MAIN", "hi_res": "http://h/x"},
    ],
    "categories": ["C1", "C2"],
    "details": {"Brand": "B"},
}
ITEM_2023 = Item(
    "T", "D F1 F2", "B", ("C1", "C2"),
    ("http://h/x", "http://h/l2", "http://h/t2", "http://h/l1", "http://h/t1"),
)  # fmt: skip
EXPORTED: dict[str, dict[str, Any]] = {
    "raw": {},
    "asin": {"asin": "i", "parent_asin": ...},
    "object of lists": {
        "images": {
            name: [image[name] for image in RAW_2023["images"]] for name in RAW_2023["images"][0]
        }
    },
    "JSON in text": {
        name: json.dumps(RAW_2023[name]) for name in ("images", "details", "categories")
    },
    "a literal in text": {
        name: repr(RAW_2023[name]) for name in ("images", "details", "features", "description")
    },
}


@pytest.mark.parametrize("name", EXPORTED)
def test_exports_of_metadata_give_the_item_of_the_raw_form(name: str) -> None:
    row = {key: value for key, value in (RAW_2023 | EXPORTED[name]).items() if value is not ...}
    unusable: Counter[str] = Counter()
    parsed = parse_metadata(orjson.dumps(row))
    assert parsed[:2] == ("i", "2023")
    assert describe(parsed.row, unusable) == ITEM_2023
    assert not unusable


def test_the_first_release_of_2018() -> None:
    row = {"asin": "i", "title": "T", "feature": ["F"], "description": ["D"], "brand": "B"}
    row |= {"image": ["https://h/1.jpg", "https://h/2.jpg"], "main_cat": "C"}
    expected = Item("T", "D F", "B", ("C",), ("https://h/1.jpg", "https://h/2.jpg"))
    assert describe(parse_metadata(orjson.dumps(row)).row) == expected
    del row["asin"]
    literal = repr({"asin": "i", **row}).encode()
    assert describe(parse_metadata(literal).row) == expected


def test_values_of_a_wrong_type_are_counted_by_field() -> None:
    row: dict[str, Any] = {"asin": "i", "title": 5, "description": ["D", {"a": 1}], "brand": None}
    row |= {"categories": [], "images": ["no address", 3], "details": "no object", "imUrl": ""}
    unusable: Counter[str] = Counter()
    for _ in range(2):
        assert describe(row, unusable) == Item(description="D")
    assert unusable == {"title": 2, "description": 2, "images": 4, "details": 2}


@given(st.lists(items, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_rows_of_an_item_are_merged_field_by_field_in_any_order(
    rows: list[Item], random: Any
) -> None:
    merged = reduce(Item.merged, rows)
    for field, values in zip(merged, zip(*rows, strict=True), strict=True):
        assert field in values
        assert len(field) == max(map(len, values))
    random.shuffle(rows)
    assert reduce(Item.merged, rows) == merged


BAD_METADATA = [
    (b"{'asin': open('x')}", "not a Python literal"),
    (b"{'asin': __import__('os').system('true')}", "not a Python literal"),
    (b"{'asin': 'i'", "not a Python literal"),
    (b"{'asin': 'i', 'x': " + b"[" * 100_000, "not a Python literal"),
    (b"{'asin': 'i', 'x': " + b"-" * 100_000 + b"1}", "not a Python literal"),
    (b"{'asin': 'i', 'x': " + b"1+" * 100_000 + b"1}", "not a Python literal"),
    (b"{'asin': 'i', 'x': '" + b"x" * MAX_LITERAL + b"'}",
     "Python literal longer than 1,000,000 bytes"),
    (b"{'asin': 'i', 'x': (" + b"1," * 60_000 + b")}", "not a Python literal"),
    (b"{'asin': '\xff'}", "not a Python literal"),
    (b"{'asin': '\0'}", "not a Python literal"),
    (b"{'asin': 'i', []: 1}", "not a Python literal"),
    (b"{'asin', 'i'}", "not an object"),
    (b"{'asin': b'i'}", "item id is not a string"),
    (b"{'asin': '\\ud800'}", "item id is not printable"),
    (b"{'title': 'no id'}", "no item id"),
    (b'{"title": "no id"}', "no item id"),
    (b'{"asin": null}', "no item id"),
    (b'{"parent_asin": ""}', "no item id"),
    (b"{}", "no item id"),
    (b"<html>", "not JSON"),
    (b'{"reviewerID": "u", "asin": "i"}', "a review, not metadata"),
    (b'{"user_id": "u", "parent_asin": "i"}', "a review, not metadata"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "reason"), BAD_METADATA, ids=range(len(BAD_METADATA)))
def test_a_bad_metadata_line_is_rejected_with_a_reason(line: bytes, reason: str) -> None:
    with pytest.raises(RejectedError) as error:
        parse_metadata(line)
    assert str(error.value) == reason
