"""Tables as a stream of chunks: text columns, and the line of each row."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brmrs.errors import UserError, first_line
from brmrs.ingest.csv_rows import RowJoiner, parse_row
from brmrs.ingest.lines import MAX_LINE, CutOffError, lines_of, read_blocks
from brmrs.ingest.table.head import Head, Kind
from brmrs.ingest.table.values import Reject, json_rows, texts_of

ROWS = 1 << 16  # of a chunk of a Parquet file
Block = tuple[int, bytes]  # the number of its first line, whole lines


@dataclass(frozen=True)
class Chunk:
    """Consecutive good rows of a table.

    Attributes:
        frame: its columns as texts.
        lines: (N,) the line of each row in its file, counted from 1; of Parquet, the row.
    """

    frame: pl.DataFrame
    lines: NDArray[np.int64]


def chunks(
    head: Head,
    columns: Sequence[str],
    reject: Reject,
    advance: Callable[[int], None],
    *,
    allow_truncated: bool = False,
) -> Iterator[Chunk]:
    """Stream a table; at least one chunk, which may have no rows.

    Args:
        head: of the table.
        columns: those to read, of `head.names`.
        reject: called for each line that is no row of the table.
        advance: called with the bytes read since the last call.
        allow_truncated: read a compressed file that ends too early up to its last whole line.

    Raises:
        UserError: the file cannot be read.
    """
    if head.kind == Kind.PARQUET:
        return _of_parquet(head, columns, advance)
    blocks = _blocks(head, reject, advance, allow_truncated=allow_truncated)
    if head.kind == Kind.JSON_LINES:
        return _of_json(blocks, columns, reject)
    return _of_delimited(head, blocks, columns, reject)


def _blocks(
    head: Head, reject: Reject, advance: Callable[[int], None], *, allow_truncated: bool
) -> Iterator[Block]:
    try:
        yield from read_blocks(head.path, advance)
    except CutOffError as error:
        if not allow_truncated:
            raise
        reject(error.line + 1, "cut off: the file ends in this line", b"")


def _of_parquet(
    head: Head, columns: Sequence[str], advance: Callable[[int], None]
) -> Iterator[Chunk]:
    start, size = 1, head.path.stat().st_size
    try:
        file = pq.ParquetFile(head.path)
        total = max(1, file.metadata.num_rows)
        for batch in file.iter_batches(ROWS, columns=list(columns)):
            frame = texts_of(pl.DataFrame(batch).select(columns))
            yield Chunk(frame, np.arange(start, start + len(frame)))
            advance(size * len(frame) // total)
            start += len(frame)
        if start == 1:
            yield _chunk({name: [] for name in columns}, [])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{head.path}: damaged after row {start - 1} ({first_line(error)}); write it again"
        ) from error


def _of_json(blocks: Iterable[Block], columns: Sequence[str], reject: Reject) -> Iterator[Chunk]:
    for first, block in blocks:
        found = list(json_rows(lines_of(block), first, reject))
        values = {name: [row.get(name) for _, row in found] for name in columns}
        yield _chunk(values, [number for number, _ in found])


def _chunk(values: Mapping[str, Sequence[str | None]], lines: list[int]) -> Chunk:
    frame = pl.DataFrame(values, schema=dict.fromkeys(values, pl.String))
    return Chunk(frame, np.array(lines, dtype=np.int64))


def _of_delimited(
    head: Head, blocks: Iterable[Block], columns: Sequence[str], reject: Reject
) -> Iterator[Chunk]:
    """Regular blocks by polars, all others row by row."""
    joiner = RowJoiner(head.separator)
    for first, block in _without_header(blocks):
        frame = None if joiner.is_waiting else _regular(block, head)
        if frame is None:
            yield _row_by_row(*joiner.add(first, block), head, columns, reject)
        else:
            yield Chunk(frame.select(columns), np.arange(first, first + len(frame)))
    yield _row_by_row(*joiner.end(), head, columns, reject)


def _without_header(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks without the first line that is not blank."""
    is_read = False
    for number, block in blocks:
        first, rest = number, block
        while rest and not is_read:
            line, _, rest = rest.partition(b"\n")
            first += 1
            is_read = bool(line) and not line.isspace()
        if rest:
            yield first, rest


def _regular(block: bytes, head: Head) -> pl.DataFrame | None:
    """A block in which every line is certainly one row; None for any other."""
    if b'"' in block or b"\n\n" in block or block.startswith(b"\n") or len(block) > MAX_LINE:
        return None
    if block.count(b"\r") != block.count(b"\r\n"):
        return None
    codes = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(codes))
    places = np.flatnonzero(codes == ord(head.separator))
    before = np.searchsorted(places, ends)
    if (np.diff(before, prepend=0) != len(head.names) - 1).any():
        return None
    try:
        frame = pl.read_csv(
            block,
            separator=head.separator,
            has_header=False,
            infer_schema=False,
            quote_char=None,
            new_columns=list(head.names),
        )
    except pl.exceptions.PolarsError:  # bytes that are no UTF-8
        return None
    return frame if len(frame) == len(ends) else None


def _row_by_row(
    first: int, rows: Sequence[bytes | None], head: Head, columns: Sequence[str], reject: Reject
) -> Chunk:
    """The rows of `RowJoiner`, parsed by the module csv."""
    found: list[list[str]] = []
    lines: list[int] = []
    for number, row in enumerate(rows, start=first):
        if not row or row.isspace():
            continue
        reason, values = _parsed(row, head)
        if reason:
            reject(number, reason, row)
        else:
            found.append(values)
            lines.append(number)
    places = [head.names.index(name) for name in columns]
    values_of = {
        name: [row[place] for row in found] for name, place in zip(columns, places, strict=True)
    }
    return _chunk(values_of, lines)


def _parsed(row: bytes, head: Head) -> tuple[str, list[str]]:
    """Why a row cannot be used ("": it can), and its values."""
    if len(row) > MAX_LINE:
        return f"longer than {MAX_LINE:,} bytes", []
    try:
        values = parse_row(row.decode(), head.separator)
    except UnicodeDecodeError:
        return "not UTF-8", []
    except csv.Error as error:
        return f"no row of CSV: {error}", []
    return ("" if len(values) == len(head.names) else f"not {len(head.names)} values"), values
