"""Files that the format `table` refuses, each in one line."""

from pathlib import Path

import polars as pl
import pytest

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.stage import ingest
from brmrs.ingest.table.head import read_head


def read(path: Path, max_bad_share: float = 0.9) -> None:
    values = {"format": "table", "interactions": path, "k": 0, "max_bad_share": max_bad_share}
    ingest(IngestConfig.model_validate(values))


REFUSED: list[tuple[str, bytes, str]] = [
    ("empty.csv", b"", r"empty\.csv: the file is empty"),
    ("header.csv", b"user,item\n", r"header\.csv: no rows below the header"),
    ("wrong.csv", b"user:item\nu:i\n", "no column looks like the user; its columns are user:item"),
    ("no_user.csv", b"item,rating\ni,1\n", r"no_user\.csv: no column looks like the user"),
    ("no_item.csv", b"user,rating\nu,1\n", r"set ingest\.columns\.item to one of them"),
    ("twice.csv", b"user,item,item\nu,i,j\n", "two columns are called 'item'"),
    ("latin.csv", "user,item,né\nu,i,1\n".encode("latin-1"), "line 1: not UTF-8; convert"),
    ("wide.csv", "user,item\nu,i\n".encode("utf-16"), "UTF-16 text; convert it first"),
    ("list.json", b'[{"user": 1}]', r"starts with '\[', which is no table"),
    ("page.csv", b"<html></html>", "starts with '<', which is no table"),
    ("zip.csv", b"PK\x03\x04", "a zip archive; unpack it first"),
    ("bad.parquet", b"PAR1 and nothing", "no readable Parquet file"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_files_that_are_no_table(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_parquet_files_without_rows(tmp_path: Path) -> None:
    orders, users = tmp_path / "orders.parquet", tmp_path / "users.parquet"
    schema = {"user": pl.String, "item": pl.String}
    pl.DataFrame(schema=schema).write_parquet(orders)
    with pytest.raises(UserError, match=r"orders\.parquet: no rows below the header"):
        read(orders)
    pl.DataFrame({"user": ["u"], "item": ["i"]}).write_parquet(orders)
    pl.DataFrame(schema=schema).write_parquet(users)
    values = {"format": "table", "interactions": orders, "users": users, "k": 0}
    found = ingest(IngestConfig.model_validate(values))
    assert found.statistics["reviews"]["users_not_in_tables"] == 1


def test_a_header_of_very_many_columns_takes_no_quadratic_time(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{n}" for n in range(100_000)) + "\n")  # took minutes
    assert len(read_head(path).names) == 100_000


def test_a_latin_1_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    lines = "".join(f"u{n},café {n}\n" for n in range(50))
    path.write_bytes(("user,item\nu,i\n" + lines).encode("latin-1"))
    with pytest.raises(UserError, match=r"line 3: not UTF-8.*is the file Latin-1\? iconv"):
        read(path, max_bad_share=0.01)
