"""Rows of CSV text from blocks of lines, with line numbers. A value may contain line feeds."""

import csv
from collections.abc import Iterable, Iterator

from brmrs.ingest.lines import MAX_LINE, lines_of

LINES_OF_A_ROW = 100  # maximum; an open quote ends after that many lines
SEPARATORS = ",\t;|"
UNCLOSED = "unexpected end of data"  # message of the module csv for a quote without an end
csv.field_size_limit(MAX_LINE)  # the default, 131,072, is less than a long description


class RowJoiner:
    """Joins the lines of rows; see `rows_of`."""

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self._number = 1  # of the first waiting line
        self._waiting: list[bytes] = []  # lines of a row that has not ended

    @property
    def is_waiting(self) -> bool:
        """Whether the last row has not ended."""
        return bool(self._waiting)

    def add(self, first: int, block: bytes) -> tuple[int, list[bytes | None]]:
        """The rows that end in the next block, and the number of the first line."""
        self._number = self._number if self._waiting else first
        self._waiting += lines_of(block)
        return self._take(is_last=False)

    def end(self) -> tuple[int, list[bytes | None]]:
        """The rows that are left at the end of the file."""
        return self._take(is_last=True)

    def _take(self, *, is_last: bool) -> tuple[int, list[bytes | None]]:
        first, done = self._number, _joined(self._waiting, self.separator, is_last)
        self._number += len(done)
        return first, done


def rows_of(
    blocks: Iterable[tuple[int, bytes]], separator: str
) -> Iterator[tuple[int, list[bytes | None]]]:
    """The rows of blocks of lines, each list with the number of its first line.

    The lines of a row are joined. Each further line of the row gives None, so that line numbers
    stay right. A quote that is not closed within `LINES_OF_A_ROW` lines ends with its line.
    """
    joiner = RowJoiner(separator)
    for first, block in blocks:
        yield joiner.add(first, block)
    yield joiner.end()


def _joined(lines: list[bytes], separator: str, is_last: bool) -> list[bytes | None]:
    """Take the whole rows from the front of `lines`, joined. The rest needs the next block."""
    done: list[bytes | None] = []
    start = 0
    while start < len(lines):
        size = 1
        if b'"' in lines[start]:
            size = _size_of_row(lines[start : start + LINES_OF_A_ROW], separator)
            if not size and len(lines) - start < LINES_OF_A_ROW and not is_last:
                break
            size = size or 1
        done += [b"\n".join(lines[start : start + size]), *[None] * (size - 1)]
        start += size
    del lines[:start]
    return done


def _size_of_row(lines: list[bytes], separator: str) -> int:
    """The number of lines of the first row; 0 if none of these lines closes its last quote."""
    for size, line in enumerate(lines, start=1):
        if size > 1 and b'"' not in line:
            continue
        try:
            parse_row(b"\n".join(lines[:size])[:MAX_LINE].decode("utf-8", "replace"), separator)
        except csv.Error as error:
            if str(error) == UNCLOSED:
                continue
        return size
    return 0


def parse_row(text: str, separator: str) -> list[str]:
    """The values of one row.

    Raises:
        csv.Error: it is no row.
    """
    lines = [f"{line}\n" for line in text.split("\n")]
    rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    return [value.strip() for value in rows[0]]
