"""Every oddity of real dumps in a dump file of its own: what is kept, what is quarantined, why."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.dataset import Item
from brmrs.ingest.stage import Ingested, ingest


def review(user: str = "u0", item: str = "i0", **fields: Any) -> bytes:
    row = {"user_id": user, "parent_asin": item, "rating": 5.0, "timestamp": 1000, "text": "fine"}
    return json.dumps(row | fields, ensure_ascii=False).encode()


GOOD = [review(f"u{n}", f"i{n % 2}") for n in range(4)]


def lines(*more: bytes, end: bytes = b"\n") -> bytes:
    return b"".join(line + end for line in [*GOOD, *more])


def read(folder: Path, content: bytes, metadata: bytes = b"", **fields: Any) -> Ingested:
    path = folder / "reviews.json.gz"
    path.write_bytes(content)
    config = {"reviews": (path,), "k": 0, "max_bad_share": 0.9} | fields
    if metadata:
        (folder / "meta.json").write_bytes(metadata)
        config["metadata"] = (folder / "meta.json",)
    return ingest(IngestConfig(**config))


@dataclass(frozen=True)
class Oddity:
    """A file of reviews with four good lines and an oddity.

    Attributes:
        content: of the file.
        kept: how many interactions.
        quarantined: the line and the reason of each bad line.
    """

    content: bytes
    kept: int = 4
    quarantined: list[tuple[int, str]] = field(default_factory=list)


LONG = "longer than 256 characters"
CUT = gzip.compress(lines()) + gzip.compress(b"".join(GOOD) * 5)[:-30]
REVIEWS = {
    "control characters in a text": Oddity(lines(review("u9", text="\x00\x1f\x7f\u200b")), 5),
    "a raw control character": Oddity(lines(b'{"text": "\x01"}'), 4, [(5, "not JSON")]),
    "emoji, also in ids": Oddity(lines(review("u😀", text="👩‍👩‍👧")), 5),
    "emoji as escapes": Oddity(lines(review("u9").replace(b"fine", b"\\ud83d\\ude00")), 5),
    "half an emoji": Oddity(lines(review().replace(b"fine", b"\\ud83d")), 4, [(5, "not JSON")]),
    "Latin-1 among UTF-8": Oddity(
        lines(review("u9").replace(b"fine", b"caf\xe9"), review("ü")), 5, [(5, "not JSON")]
    ),
    "empty strings": Oddity(
        lines(review(""), review("u", ""), review("u9", text="")), 5,
        [(5, "no user id"), (6, "no item id")],
    ),
    "ratings out of range": Oddity(
        lines(*(review("u9", rating=star) for star in (0, 5.5, -1, 100))), 4,
        [(line, "rating is not within 1 to 5") for line in (5, 6, 7, 8)],
    ),
    "negative and absurd times": Oddity(
        lines(*(review("u9", timestamp=time) for time in (-1, 10**15, 1.5))), 4,
        [(5, "time is not within 1970 to 2100"), (6, "time is not within 1970 to 2100"),
         (7, "time is not a whole number")],
    ),
    "ids with slashes and dots": Oddity(lines(review("a/b"), review("../../etc"), review("..")), 7),
    "an id of 10,000 characters": Oddity(
        lines(review("u" * 10_000), review("u9", "i" * 10_000)), 4,
        [(5, f"user id {LONG}"), (6, f"item id {LONG}")],
    ),
    "a list where a string is expected": Oddity(
        lines(review("u9", text=[["a"], {}]), review("u9", parent_asin=["i"])), 5,
        [(6, "item id is not a string")],
    ),
    "a line of 50 MB": Oddity(
        gzip.compress(lines(review("u9", text="x" * 50_000_000), review("u8")), compresslevel=1),
        5, [(5, "longer than 10,000,000 bytes")],
    ),
    "concatenated members": Oddity(gzip.compress(lines()[:70]) + gzip.compress(lines()[70:])),
    "a byte order mark": Oddity(b"\xef\xbb\xbf" + lines()),
    "Windows line ends": Oddity(lines(b"", end=b"\r\n")),
    "no line feed at the end": Oddity(lines()[:-1]),
    "blank lines": Oddity(b"\n\n" + lines(b"", b"  ", b"{"), 4, [(9, "not JSON")]),
    "a name that promises gzip": Oddity(lines()),
    "an item that no metadata know": Oddity(lines(review("u9", "unknown")), 5),
    "1e999 in a field nobody needs": Oddity(lines(review("u9").replace(b'"fine"', b"1e999")), 5),
    "NaN in a field nobody needs": Oddity(
        lines(review("u9").replace(b'"fine"', b"NaN")), 4, [(5, "not JSON")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REVIEWS)
def test_reviews(name: str, tmp_path: Path) -> None:
    oddity = REVIEWS[name]
    found = read(tmp_path, oddity.content)
    assert len(found.interactions) == oddity.kept
    assert [(bad.line, bad.reason) for bad in found.quarantine] == oddity.quarantined


def item(found: Ingested, asin: str = "i0") -> Item:
    return found.items[found.asins.index(asin)]


def meta(**fields: Any) -> bytes:
    return json.dumps({"parent_asin": "i0"} | fields, ensure_ascii=False).encode() + b"\n"


METADATA: dict[str, tuple[bytes, Item]] = {
    "HTML": (meta(title="A &amp; <b>B</b>", description=["x<br>y"]), Item("A & B", "x y")),
    "broken HTML": (meta(title="<b>A <i", description=["<script>x"], store="&nope;"),
                    Item("A <i", "", "&nope;")),
    "control characters": (meta(title="a\x00\x07b\u200b", store="\x1f"), Item("ab")),
    "emoji": (meta(title="👩‍👩‍👧 😀"), Item("👩‍👩‍👧 😀")),
    "empty strings": (meta(title="", description=["", " "], store="", categories=[""]), Item()),
    "duplicate rows": (meta(title="A") + meta(title="A", store="B") + meta(), Item("A", brand="B")),
    "nested lists": (meta(title=[["A"], "B"], description=[[["x"]], "y"], store=["S"]),
                     Item("A", "x y", "S")),
    "never reviewed": (meta(title="A") + meta(parent_asin="other", title="x"), Item("A")),
    "apostrophes of 2014": (rb"""{'asin': 'i0', 'title': 'Dad\'s "own"', 'brand': "O'Neil"}""",
                            Item('Dad\'s "own"', brand="O'Neil")),
    "Windows line ends": (meta(title="A").replace(b"\n", b"\r\n"), Item("A")),
    "a byte order mark": (b"\xef\xbb\xbf" + meta(title="A"), Item("A")),
}  # fmt: skip


@pytest.mark.parametrize("name", METADATA)
def test_metadata(name: str, tmp_path: Path) -> None:
    content, expected = METADATA[name]
    found = read(tmp_path, lines(), content)
    assert item(found) == expected
    assert item(found, "i1") == Item()  # an item without metadata is an item without text
    assert found.quarantine == []


def test_latin_1_in_metadata_is_quarantined(tmp_path: Path) -> None:
    found = read(tmp_path, lines(), meta(title="A") + meta(store="\xe9").decode().encode("latin-1"))
    assert item(found) == Item("A")
    assert [(bad.file, bad.line, bad.reason) for bad in found.quarantine] == [
        ("meta.json", 2, "not JSON")
    ]


def test_a_truncated_file_says_where_it_ends(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"after line 4; .* set ingest\.allow_truncated=true"):
        read(tmp_path, CUT)


def test_a_truncated_file_may_be_used(tmp_path: Path) -> None:
    found = read(tmp_path, CUT, allow_truncated=True)
    assert len(found.interactions) == 4
    assert [(bad.line, bad.reason, bad.content) for bad in found.quarantine] == [
        (5, "cut off: the file ends in this line", "")
    ]
    assert found.statistics["reviews"]["lines"] == 5


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    for content in (b"", gzip.compress(b""), b"\xef\xbb\xbf\n"):
        with pytest.raises(UserError, match=r"reviews\.json\.gz: the file is empty; remove it"):
            read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PK\x03\x04", "a zip archive"),
        (b"<html>\n", "HTML"),
        (b"\x00\x01\xff\n", "binary data"),
        (b"a,b\n1,2\n", r"with the first line 'a,b'; .* the header user_id,parent_asin,rating,"),
        (meta(title="A"), "objects with the fields 'parent_asin', 'title'"),
        (b"\x1f\x8b" + b"\x00" * 30, "damaged"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, content: bytes, found: str) -> None:
    with pytest.raises(UserError, match=found):
        read(tmp_path, content)


def test_folders_with_several_categories(tmp_path: Path) -> None:
    packs: dict[str, Callable[[bytes], bytes]] = {
        "Toys.jsonl": bytes,
        "Baby.gz.json": gzip.compress,
    }
    for name, pack in packs.items():
        for kind, content in {"reviews": lines(review(name)), "meta": meta(title=name)}.items():
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / name).write_bytes(pack(content))
    (tmp_path / "reviews" / "README.md").write_text("not a dump")
    (tmp_path / "reviews" / "inner.jsonl").mkdir()
    config = IngestConfig(reviews=(tmp_path / "reviews",), metadata=(tmp_path / "meta",), k=0)
    found = ingest(config)
    assert found.statistics["reviews"]["files"] == found.statistics["metadata"]["files"] == 2
    assert found.statistics["reviews"]["duplicates"] == 4
    assert len(found.interactions) == 6
    assert item(found).title == "Baby.gz.json"  # the longer one
