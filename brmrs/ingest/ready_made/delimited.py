"""A table of text, separated by tabs, commas or semicolons. Errors name file and line."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from brmrs.errors import UserError
from brmrs.ingest.lines import read_blocks

MAX_DIGITS = 10  # of an id
WHOLE = rf"^\d{{1,{MAX_DIGITS}}}$"
NUMBER = r"^-?\d{1,18}(\.\d{1,18})?([eE][+-]?\d{1,2})?$"
CONTENT_SHOWN = 40  # characters
NO_OTHERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Delimited:
    """All columns as strings; row i is line i + 2, after the header.

    Attributes:
        path: of the file.
        table: its content.
    """

    path: Path
    table: pa.Table

    @classmethod
    def read(
        cls, path: Path, required: tuple[str, ...], others: Mapping[str, str] = NO_OTHERS
    ) -> "Delimited":
        """Read a file. The header shows the separator; quotes are those of CSV; blanks are dropped.

        Args:
            path: the file.
            required: names of columns.
            others: other names that some of them have.

        Raises:
            UserError: it cannot be read, lacks a column or any row, or has a row of another width.
        """
        try:
            raw = b"".join(block for _, block in read_blocks(path, lambda _: None))
            text = _without_blank_end(raw).decode()
        except UnicodeDecodeError as error:
            number = raw.count(b"\n", 0, error.start) + 1
            raise UserError(f"{path}, line {number}: not UTF-8; correct the line") from error
        header = text.partition("\n")[0]
        separator = max("\t,;", key=header.count)
        # RecBole writes the type behind the name: user_id:token.
        first = _split(path, 1, header, separator)
        names = [name.partition(":")[0] for name in first]
        names = [name if name in required else others.get(name, name) for name in names]
        if not set(required) <= set(names) or len(set(names)) < len(names):
            raise UserError(
                f"{path}, line 1: expected the columns {', '.join(required)}, found "
                f"{', '.join(names)[:200]!r}; correct the header"
            )
        read = _with_quotes if '"' in text else _without_quotes
        table = read(path, text, names, separator)
        if not len(table):
            raise UserError(f"{path}: no rows; correct the file")
        trimmed = [pc.utf8_trim_whitespace(column) for column in table.columns]
        return cls(path, pa.table(trimmed, names=names))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.table.column_names)

    def strings(self, name: str) -> NDArray[np.object_]:
        """(N,) strings."""
        values: NDArray[np.object_] = self.table[name].to_numpy()
        return values

    def integers(self, name: str, below: int) -> NDArray[np.int64]:
        """(N,) whole numbers from 0, all under `below`.

        Raises:
            UserError: one is not.
        """
        column = self.table[name]
        reason = f"{name} is not a whole number within 0 to {below - 1}"
        fits = pc.match_substring_regex(column, WHOLE).to_numpy()
        self.refuse_first(~fits, reason)
        numbers: NDArray[np.int64] = pc.cast(column, pa.int64()).to_numpy()
        self.refuse_first(numbers >= below, reason)
        return numbers

    def codes(self, name: str, spellings: Mapping[str, int]) -> NDArray[np.int8]:
        """(N,) the codes of the values, which are any of these spellings, in any case.

        Raises:
            UserError: one is not.
        """
        found = pc.index_in(pc.utf8_lower(self.table[name]), pa.array(list(spellings)))
        bad = pc.is_null(found).to_numpy()
        self.refuse_first(bad, f"{name} is none of {', '.join(spellings)}")
        codes: NDArray[np.int8] = np.array(list(spellings.values()), np.int8)[found.to_numpy()]
        return codes

    def numbers(self, name: str) -> NDArray[np.float64]:
        """(N,) numbers, NaN where empty; all NaN where there is no such column.

        Raises:
            UserError: one is something else.
        """
        if name not in self.names:
            return np.full(len(self), np.nan)
        column = self.table[name]
        empty = pc.equal(column, "")
        fits = pc.or_(empty, pc.match_substring_regex(column, NUMBER)).to_numpy()
        self.refuse_first(~fits, f"{name} is not a number")
        numbers = pc.cast(pc.if_else(empty, "nan", column), pa.float64())
        values: NDArray[np.float64] = numbers.to_numpy()
        return values

    def refuse_first(self, bad: NDArray[np.bool_], reason: str) -> None:
        """Name the first line where `bad` holds.

        Raises:
            UserError: there is one.
        """
        if not np.any(bad):
            return
        row = int(np.argmax(bad))
        line = " ".join(str(self.table[name][row]) for name in self.names)[:CONTENT_SHOWN]
        raise UserError(f"{self.path}, line {row + 2}: {reason} ({line!r}); correct the line")


def _without_quotes(path: Path, text: str, names: list[str], separator: str) -> pa.Table:
    """The columns of a table without quotes, many times as fast as the module csv."""
    bad: list[Any] = []

    def refuse(row: Any) -> str:
        bad.append(row)
        return "skip"

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(text.encode()),
            pa_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
            pa_csv.ParseOptions(
                delimiter=separator,
                quote_char=False,
                ignore_empty_lines=False,
                invalid_row_handler=refuse,
            ),
            pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: no table of text ({reason}); correct the file") from error
    for row in bad:
        raise _width(path, row.number, row.actual_columns, row.expected_columns)
    return table


def _with_quotes(path: Path, text: str, names: list[str], separator: str) -> pa.Table:
    """The columns of a table by the module csv."""
    lines = text.removesuffix("\n").split("\n")[1:]
    rows = [_split(path, number, line, separator) for number, line in enumerate(lines, start=2)]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise _width(path, number, len(row), len(names))
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=names)


def _split(path: Path, number: int, line: str, separator: str) -> list[str]:
    """The values of a line."""
    try:
        reader = csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True)
        return [value.strip() for value in next(reader, [])]
    except csv.Error as error:
        raise UserError(
            f"{path}, line {number}: no row of CSV ({error}); correct the line"
        ) from error


def _width(path: Path, number: int, found: int, expected: int) -> UserError:
    return UserError(
        f"{path}, line {number}: {found} columns instead of {expected}; correct the line"
    )


def _without_blank_end(raw: bytes) -> bytes:
    """The content without the blank lines at its end."""
    end = len(raw)
    while (start := raw.rfind(b"\n", 0, end)) >= 0 and not raw[start:end].strip():
        end = start
    return raw[:end] + b"\n"
