"""Odd rows of tables: the right value, or a reason that is counted and shown."""

from pathlib import Path

import pytest

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.stage import Ingested, ingest
from brmrs.propose.inspect import inspect

HEADER = "user,item,rating,time\n"


def read(tmp_path: Path, content: str) -> Ingested:
    path = tmp_path / "orders.csv"
    path.write_bytes(content.encode())
    values = {"format": "table", "interactions": path, "k": 0, "max_bad_share": 0.9}
    return ingest(IngestConfig.model_validate(values))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("u,i,4.5.1,1600000000", "rating is not a number"),
        ("u,i,5,31.12.2020", "time is no number or ISO date since 1970"),
        ("u\u2028v,i,5,1600000000", "user id is not printable"),
        ("u,i,5", "not 4 values"),
    ],
)
def test_where_no_row_can_be_used_the_reason_is_shown(
    tmp_path: Path, row: str, reason: str
) -> None:
    with pytest.raises(UserError, match=f"none of the 1 rows .* line 2 of orders.csv: {reason}"):
        inspect([_written(tmp_path, HEADER + row + "\n")])


def test_a_header_without_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"orders.csv: no rows below the header"):
        inspect([_written(tmp_path, HEADER)])


def _written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "orders.csv"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("rating", ["1e39", "-1e39", "1e400", "inf", "NaN ."])
def test_a_rating_that_is_not_finite_as_float32_is_rejected(tmp_path: Path, rating: str) -> None:
    found = read(tmp_path, f"{HEADER}u,i,5,1600000000\nv,i,{rating},1600000000\n")
    assert found.statistics["reviews"]["quarantined"] == {"rating is not a number": 1}
    assert found.user_ids == ["u"]


def test_minus_zero_is_zero(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}u,i,-0,1600000000\nv,i,0,1600000000\n")
    assert list(found.statistics["ratings"].values()) == [2]
    assert str(found.interactions.rating[0]) == "0.0"


@pytest.mark.parametrize("header", ["user,item\n", HEADER])
def test_a_header_within_the_rows_is_no_interaction(tmp_path: Path, header: str) -> None:
    """`cat january.csv february.csv`."""
    row = "{},i" if header == "user,item\n" else "{},i,5,1600000000"
    found = read(tmp_path, f"{header}{row.format('u')}\n{header}{row.format('v')}\n")
    assert found.user_ids == ["u", "v"]
    assert found.statistics["reviews"]["quarantined"] == {"the header again": 1}


@pytest.mark.parametrize(("day", "old"), [("18262", 2), ("43831.5", 2), ("1577836800", 0)])
def test_times_before_1995_are_counted_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, day: str, old: int
) -> None:
    """Days since 1970 or 1900 would be seconds on one day of 1970."""
    found = read(tmp_path, f"{HEADER}u,i,5,{day}\nv,i,5,{day}\nw,i,5,\n")
    assert found.statistics["reviews"]["times_before_1995"] == old
    assert ("2 of 2 times are before 1995" in caplog.text) == bool(old)


def test_line_ends_of_old_macs_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"orders.csv: its lines end with carriage returns alone"):
        inspect([_written(tmp_path, (HEADER + "u,i,5,1600000000\n").replace("\n", "\r"))])
