"""The head of a table: its kind, its columns and its first rows. All values are texts."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.errors import UserError, first_line
from brmrs.ingest.csv_rows import SEPARATORS, parse_row, rows_of
from brmrs.ingest.lines import MAX_LINE, UTF8_BOM, head
from brmrs.ingest.table.values import json_rows, texts_of
from brmrs.suggest import instead

PARQUET_MAGIC = b"PAR1"
LINES_SEEN = 1000  # of a table, for guesses
# RecBole writes the type of a column behind its name: user_id:token.
RECBOLE = re.compile(r"(.+):(token|token_seq|float|float_seq)")

Row = dict[str, str | None]


class Kind(StrEnum):
    """How a table is written."""

    DELIMITED = "delimited"
    JSON_LINES = "JSON lines"
    PARQUET = "Parquet"


@dataclass(frozen=True)
class Head:
    """The beginning of a table.

    Attributes:
        path: its file.
        kind: how it is written.
        names: its columns, without RecBole's types.
        rows: the first ones. null and empty values are None; lists and objects are JSON text.
        separator: of a delimited table.
        types: RecBole's type of each column; empty if the file has none.
        lists: the columns of a Parquet file that hold lists of numbers.
    """

    path: Path
    kind: Kind
    names: tuple[str, ...]
    rows: Sequence[Row]
    separator: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    lists: tuple[str, ...] = ()

    @property
    def listed(self) -> str:
        """The names of the columns, for messages."""
        return ", ".join(name[:40] for name in self.names[:20]) or "none"


def read_head(path: Path) -> Head:
    """The head of a table of any kind.

    Raises:
        UserError: the file cannot be read, is empty, or is no table.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(PARQUET_MAGIC))
    except OSError as error:
        advice = instead(path, "correct the path")
        raise UserError(f"{path}: {error.strerror}; {advice}") from error
    if start == PARQUET_MAGIC:
        return _of_parquet(path)
    lines = head(path, LINES_SEEN)
    if not lines:
        raise UserError(f"{path}: the file is empty")
    first = lines[0].removeprefix(UTF8_BOM).lstrip()[:1]
    if first == b"{":
        return _of_json(path, lines)
    if first in (b"[", b"<"):
        raise UserError(
            f"{path}: starts with {first.decode()!r}, which is no table; a table is CSV with a "
            "header, JSON lines (one object a line) or Parquet"
        )
    return _of_delimited(path, lines)


def _of_json(path: Path, lines: Sequence[bytes]) -> Head:
    rows = [row for _, row in json_rows(lines, 1, lambda *_: None)]
    names = dict.fromkeys(name for row in rows for name in row)
    if not names:
        raise UserError(f"{path}: none of the first lines is a JSON object with fields")
    return Head(path, Kind.JSON_LINES, tuple(names), rows)


def _of_parquet(path: Path) -> Head:
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        names = tuple(schema.names)
        first = next(file.iter_batches(LINES_SEEN), None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: no readable Parquet file ({first_line(error)})") from error
    _refuse_repeated(path, names)
    lists = tuple(column.name for column in schema if _holds_vectors(column.type))
    readable = [name for name in names if name not in lists]
    frame = texts_of(pl.DataFrame(first.select(readable))) if first is not None else None
    return Head(
        path, Kind.PARQUET, names, frame.to_dicts() if frame is not None else [], "", {}, lists
    )


def _holds_vectors(kind: pa.DataType) -> bool:
    of_lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_of(kind) for is_of in of_lists):
        return False
    return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def _of_delimited(path: Path, lines: Sequence[bytes]) -> Head:
    header = lines[0].removeprefix(UTF8_BOM)
    if len(header) > MAX_LINE or b"\0" in header:
        raise UserError(f"{path}: the first line is no header of a table")
    try:
        text = header.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line 1: not UTF-8; convert the file (iconv -f LATIN1 -t UTF-8)"
        ) from error
    separator = _separator(lines)
    try:
        names = parse_row(text, separator)
    except csv.Error as error:
        raise UserError(f"{path}, line 1: no header of a table ({error}); correct it") from error
    typed = [RECBOLE.fullmatch(name) for name in names]
    types: dict[str, str] = {}
    if all(typed):
        types = {match[1]: match[2] for match in typed if match}
        names = [match[1] for match in typed if match]
    # pandas writes its index without a name
    names = [name or f"column {place}" for place, name in enumerate(names, start=1)]
    _refuse_repeated(path, names)
    block = b"\n".join([*lines[1:], b""])
    rows: list[Row] = []
    for _, found in rows_of([(1, block)] if block else [], separator):
        for line in found:
            values = _values(line, separator) if line is not None else []
            if len(values) == len(names):
                rows.append({k: v or None for k, v in zip(names, values, strict=True)})
    return Head(path, Kind.DELIMITED, tuple(names), rows, separator, types)


def _values(line: bytes, separator: str) -> list[str]:
    try:
        return parse_row(line.decode("utf-8", "replace"), separator)
    except csv.Error:
        return []


def _separator(lines: Sequence[bytes]) -> str:
    """The separator with which most lines have as many values as the header; then the most values.

    With "," for a table of one column.
    """

    def fit(separator: str) -> tuple[int, int]:
        widths = [len(_values(line, separator)) for line in lines[:50]]
        return (sum(width == widths[0] for width in widths) if widths[0] > 1 else 0), widths[0]

    return max(SEPARATORS, key=fit)


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        (twice, _), *_ = Counter(names).most_common(1)
        raise UserError(f"{path}: two columns are called {twice!r}; rename one")
