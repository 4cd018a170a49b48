"""A table of text, tab or comma separated, whose faults are told by file and line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from brmrs.errors import UserError

MAX_DIGITS = 10  # of an id
WHOLE = rf"^\d{{1,{MAX_DIGITS}}}$"
NUMBER = r"^-?\d{1,18}(\.\d{1,18})?([eE][+-]?\d{1,2})?$"
CONTENT_SHOWN = 40  # characters
UTF8_BOM = b"\xef\xbb\xbf"


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
    def read(cls, path: Path, required: tuple[str, ...]) -> "Delimited":
        """Read a file; the header tells the separator.

        Raises:
            UserError: it cannot be read, lacks a column or any row, or has a row of another width.
        """
        bad: list[Any] = []

        def refuse(row: Any) -> str:
            bad.append(row)
            return "skip"

        try:
            raw = path.read_bytes().removeprefix(UTF8_BOM)
            raw.decode()
            header = raw.partition(b"\n")[0].decode().strip()
            separator = "\t" if "\t" in header else ","
            names = [name.strip() for name in header.split(separator)]
            missing = [name for name in required if name not in names]
            if missing or len(set(names)) < len(names):
                raise UserError(
                    f"{path}, line 1: expected the columns {', '.join(required)}, found "
                    f"{', '.join(names)[:200]!r}; mend the header"
                )
            table = pa_csv.read_csv(
                pa.BufferReader(raw),
                pa_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
                pa_csv.ParseOptions(
                    delimiter=separator,
                    quote_char=False,
                    ignore_empty_lines=False,
                    invalid_row_handler=refuse,
                ),
                pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            )
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; correct the path") from error
        except UnicodeDecodeError as error:
            number = raw.count(b"\n", 0, error.start) + 1
            raise UserError(f"{path}, line {number}: not UTF-8; mend the line") from error
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: no table of text ({reason}); mend the file") from error
        if bad:
            raise UserError(
                f"{path}, line {bad[0].number}: {bad[0].actual_columns} columns instead of "
                f"{bad[0].expected_columns}; mend the line"
            )
        if not len(table):
            raise UserError(f"{path}: no rows; mend the file")
        return cls(path, table)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def names(self) -> list[str]:
        """Of the columns."""
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
        told = f"{name} is not a whole number within 0 to {below - 1}"
        fits = pc.match_substring_regex(column, WHOLE).to_numpy()
        self.refuse_first(~fits, told)
        numbers: NDArray[np.int64] = pc.cast(column, pa.int64()).to_numpy()
        self.refuse_first(numbers >= below, told)
        return numbers

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
        raise UserError(f"{self.path}, line {row + 2}: {reason} ({line!r}); mend the line")
