"""The reader of delimited tables against the module csv, and round trips of any ids."""

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.clean import ABSENT
from brmrs.ingest.stage import ingest
from brmrs.ingest.table.chunks import chunks
from brmrs.ingest.table.head import Head, Kind

SEPARATORS = st.sampled_from(",;\t|")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
PIECES = st.lists(
    st.sampled_from(["a", "bb", '"', '""', ",", ";", "\n", "\r\n", " ", "é", "1", "\n\n", "\t"]),
    max_size=40,
).map("".join)


def rows_of(content: bytes, separator: str, width: int) -> tuple[list[list[str]], int]:
    """The rows without the header, as the reader of tables gives them, and the bad lines."""
    names = [f"c{place}" for place in range(width)]
    bad: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(separator.join(names).encode() + b"\n" + content)
        head = Head(path, Kind.DELIMITED, tuple(names), [], separator)
        found: list[list[str]] = []
        for chunk in chunks(head, names, lambda line, *_: bad.append(line), lambda _: None):
            assert len(chunk.lines) == len(chunk.frame)
            found += [[value or "" for value in row] for row in chunk.frame.iter_rows()]
    return found, len(bad)


def stripped(rows: Any) -> list[list[str]]:
    return [[value.strip() for value in row] for row in rows]


@settings(max_examples=300)
@given(st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=6), SEPARATORS)
def test_what_csv_writes_is_read_alike(rows: list[list[str]], separator: str) -> None:
    """Of any texts, with quotes and line feeds in them."""
    text = io.StringIO()
    plain = [[value.replace("\r", "") for value in row] for row in rows]
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(plain)
    found, bad = rows_of(text.getvalue().encode(), separator, 3)
    assert [[v.strip() for v in row] for row in found] == stripped(plain)
    assert bad == 0


@settings(max_examples=500)
@given(PIECES, SEPARATORS)
def test_any_text_is_read_as_csv_reads_it(text: str, separator: str) -> None:
    """Rows that the module csv reads and whose width fits are the same; none is lost silently."""
    content = text.replace("\r\n", "\n")
    lines = [f"{line}\n" for line in content.split("\n")]
    try:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
        expected = [row for row in stripped(reader) if len(row) == 2 and any(row)]
    except csv.Error:
        expected = None
    found, bad = rows_of(content.encode(), separator, 2)
    if expected is not None:
        assert [row for row in stripped(found) if any(row)] == expected  # blank lines do not count
    else:
        assert bad


IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda text: text.isprintable() and text == text.strip() and text not in ABSENT
)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(IDS, IDS), min_size=1, max_size=8), st.sampled_from(["csv", "json", "pq"])
)
def test_ids_survive_in_every_kind_of_file(pairs: list[tuple[str, str]], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        if kind == "csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([("user", "item"), *pairs])
            path.write_bytes(text.getvalue().encode())
        elif kind == "json":
            lines = [orjson.dumps({"user": user, "item": item}) for user, item in pairs]
            path.write_bytes(b"\n".join(lines))
        else:
            pl.DataFrame(pairs, schema=["user", "item"], orient="row").write_parquet(path)
        config = {"format": "table", "interactions": path, "k": 0}
        found = ingest(IngestConfig.model_validate(config))
    rows = zip(found.interactions.user, found.interactions.item, strict=True)
    assert {(found.user_ids[u], found.asins[i]) for u, i in rows} == set(pairs)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(b"user,item\n" + content)
        config = {"format": "table", "interactions": path, "k": 0, "max_bad_share": 1}
        try:
            ingest(IngestConfig.model_validate(config))
        except UserError as error:
            assert "\n" not in str(error)
