"""Odd tables of the ready-made layout: the right values, or one line that says what to do."""

import gzip
from pathlib import Path

import pytest

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.interactions import Interactions
from brmrs.ingest.stage import ingest
from brmrs.propose.inspect import inspect

HEADER = "userID\titemID\trating\ttimestamp\tx_label\n"
ROWS = "0\t0\t5\t1600000000\t0\n0\t1\t4\t1600000001\t1\n1\t1\t4\t1600000002\t2\n"


def read(tmp_path: Path, content: bytes) -> Interactions:
    (tmp_path / "x.inter").write_bytes(content)
    (tmp_path / "i_id_mapping.csv").write_text("asin\titemID\nA\t0\nB\t1\n")
    return ingest(IngestConfig(format="ready-made", path=tmp_path)).interactions


@pytest.mark.parametrize("form", ["utf-8-sig", "crlf", "gzip"])
def test_a_harmless_form_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    text = HEADER + ROWS
    forms = {
        "utf-8-sig": text.encode("utf-8-sig"),
        "crlf": text.replace("\n", "\r\n").encode(),
        "gzip": gzip.compress(text.encode()),
    }
    found = read(tmp_path, forms[form])
    assert found.user.tolist() == [0, 0, 1]
    assert found.timestamp.tolist() == [1600000000000, 1600000001000, 1600000002000]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ((HEADER + ROWS).encode("utf-16"), "x.inter: .* UTF-16 text; convert it first"),
        ((HEADER + ROWS).replace("\n", "\r").encode(), "x.inter: .* carriage returns alone"),
        (gzip.compress((HEADER + ROWS).encode())[:-9], "x.inter: cut off"),
    ],
    ids=["UTF-16", "carriage returns", "cut off"],
)
def test_another_form_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        read(tmp_path, content)


def test_each_time_shows_its_unit_by_its_size(tmp_path: Path) -> None:
    mixed = ROWS.replace("1600000001", "1600000001000").replace("1600000002", "1600000002.5")
    found = read(tmp_path, (HEADER + mixed).encode())
    assert found.timestamp.tolist() == [1600000000000, 1600000001000, 1600000002500]


@pytest.mark.parametrize("time", ["9007199254740991", "4102444800", "-1"])
def test_a_time_outside_1970_to_2100_is_refused(tmp_path: Path, time: str) -> None:
    with pytest.raises(UserError, match=r"x.inter, line 3: timestamp is not within 1970 to 2100"):
        read(tmp_path, (HEADER + ROWS.replace("1600000001", time)).encode())


@pytest.mark.parametrize("rating", ["1e39", "-1e99", "1e400", "nan"])
def test_a_rating_is_a_finite_number(tmp_path: Path, rating: str) -> None:
    with pytest.raises(UserError, match=r"x.inter, line 2: rating is (above|not a number)"):
        read(tmp_path, (HEADER + ROWS.replace("\t5\t", f"\t{rating}\t")).encode())


def test_inspect_shows_the_times(tmp_path: Path) -> None:
    read(tmp_path, (HEADER + ROWS).encode())
    assert inspect([tmp_path])["time"]["first"] == 1600000000000
