"""Tables of a store that somebody else may have written."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brmrs.errors import UserError
from brmrs.store.tables import read_table, rows

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field("score", pa.float64()),
    ]
)
VALUES = {"name": ["a", "b", "c"], "tags": [[], ["x"], ["y", "z"]], "score": [0.5, None, 1.5]}
EXAMPLES = int(os.environ.get("BRMRS_FUZZ", "100"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pq.write_table(pa.table(VALUES, schema=SCHEMA), tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_rows_and_columns(file: Path) -> None:
    assert list(rows(file, SCHEMA, "score", "name")) == [(0.5, "a"), (None, "b"), (1.5, "c")]
    assert read_table(file, SCHEMA).to_pydict() == VALUES
    some = read_table(file, SCHEMA, ["tags"], filters=[("name", "==", "c")])
    assert some.to_pydict() == {"tags": [["y", "z"]]}


OTHER = {
    "column name is missing": {"tags": VALUES["tags"], "score": VALUES["score"]},
    "column name is of int64": {**VALUES, "name": [1, 2, 3]},
    "column tags is of string": {**VALUES, "tags": ["a", "b", "c"]},
    "column name has missing values": {**VALUES, "name": ["a", None, "c"]},
}


@pytest.mark.parametrize("message", OTHER)
def test_another_table_is_named(file: Path, message: str) -> None:
    pq.write_table(pa.table(OTHER[message]), file)
    for read in (lambda: read_table(file, SCHEMA), lambda: list(rows(file, SCHEMA, *VALUES))):
        with pytest.raises(UserError, match=rf"table\.parquet: no table of a run \({message}"):
            read()


def test_texts_that_are_not_utf_8_are_named(file: Path) -> None:
    """Parquet's reader takes them; reading the values raised UnicodeDecodeError."""
    whole = file.read_bytes()
    place = whole.index(b"a")
    file.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
    for read in (lambda: read_table(file, SCHEMA), lambda: list(rows(file, SCHEMA, *VALUES))):
        with pytest.raises(UserError, match=r"table\.parquet: no table of a run \(.*UTF8"):
            read()


@pytest.mark.timeout(20)
def test_a_pipe_and_a_missing_file_are_named(file: Path) -> None:
    file.unlink()
    with pytest.raises(UserError, match=r"table\.parquet: no table of a run .*No such file"):
        read_table(file, SCHEMA)
    os.mkfifo(file)
    with pytest.raises(UserError, match=r"table\.parquet: no table of a run .*no regular file"):
        list(rows(file, SCHEMA, "name"))


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(at=st.integers(0, 3000), damage=st.binary(min_size=1, max_size=8), cut=st.booleans())
def test_damaged_bytes_are_read_or_refused(file: Path, at: int, damage: bytes, cut: bool) -> None:
    whole = file.read_bytes()
    try:
        at %= len(whole)
        tail = b"" if cut else whole[at + len(damage) :]
        file.write_bytes(whole[:at] + damage + tail)
        for read in (lambda: read_table(file, SCHEMA), lambda: list(rows(file, SCHEMA, *VALUES))):
            try:
                read()
            except UserError as error:
                assert "\n" not in str(error)
    finally:
        file.write_bytes(whole)
