"""Values of tables as texts: one form for delimited text, JSON and Parquet.

A whole number keeps its digits: 1, never 1.0. Lists and objects become JSON text.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson
import polars as pl

from brmrs.ingest.clean import ABSENT
from brmrs.ingest.lines import MAX_LINE

EXACT = 2.0**53  # above it, floats are no longer all whole numbers
Reject = Callable[[int, str, bytes], None]  # line, reason, content


def as_text(value: Any) -> str | None:
    """A JSON value as text; None for null, NaN and empty text."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    return orjson.dumps(value, default=str).decode()


def json_rows(
    lines: Iterable[bytes], first: int, reject: Reject
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Number and fields of each line that holds a JSON object; blank lines are left out.

    Args:
        lines: consecutive lines.
        first: the number of the first one.
        reject: called for each other line.
    """
    for number, line in enumerate(lines, start=first):
        if not line or line.isspace():
            continue
        if len(line) > MAX_LINE:
            reject(number, f"longer than {MAX_LINE:,} bytes", line)
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            reject(number, "not JSON", line)
            continue
        if isinstance(row, dict):
            yield number, {name: as_text(value) for name, value in row.items()}
        else:
            reject(number, "not an object", line)


def texts_of(frame: pl.DataFrame) -> pl.DataFrame:
    """The same columns as texts; columns of bytes and of objects are null."""
    return pl.DataFrame([_texts(frame[name]) for name in frame.columns])


def _texts(column: pl.Series) -> pl.Series:
    kind = column.dtype
    if kind.is_float():
        whole = (column == column.floor()) & (column.abs() < EXACT)
        text = (
            column.cast(pl.Float64)
            .cast(pl.String)
            .zip_with(
                ~whole.fill_null(value=False), column.cast(pl.Int64, strict=False).cast(pl.String)
            )
        )
        return text.set(column.is_nan().fill_null(value=False), None).alias(column.name)
    if isinstance(kind, pl.Datetime):
        utc = column if kind.time_zone is None else column.dt.convert_time_zone("UTC")
        return utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.3f")
    if isinstance(kind, pl.List | pl.Array):
        values = [as_text(value) for value in column.to_list()]
        return pl.Series(column.name, values, pl.String)
    if kind == pl.Binary or isinstance(kind, pl.Struct | pl.Object):
        return pl.Series(column.name, [None] * len(column), pl.String)
    return column.cast(pl.String)


def stripped(name: str) -> pl.Expr:
    """A column of texts without white space at the ends; null where it holds no value."""
    text = pl.col(name).str.strip_chars()
    return pl.when((text == "") | text.is_in(sorted(ABSENT))).then(None).otherwise(text)
