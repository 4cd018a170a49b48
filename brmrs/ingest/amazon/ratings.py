"""Tables of ratings: the CSV files that each generation has beside its reviews, and others like it.

| generation | header | columns | time |
|---|---|---|---|
| 2014 | no | user, item, rating, time | seconds |
| 2018 | no | item, user, rating, time | seconds |
| 2023 | yes | `user_id`, `parent_asin`, `rating`, `timestamp` | milliseconds |

With a header, the columns may have any order and any of the names in `reviews`; other columns are
ignored. The separator is a comma, a semicolon, a tab or a bar. Quotes are those of the module
`csv`; blanks around a value are dropped.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from brmrs.errors import UserError
from brmrs.ingest.amazon.lines import MAX_LINE, head, lines_of
from brmrs.ingest.amazon.records import CONTENT_SHOWN, Kind, RejectedError
from brmrs.ingest.amazon.reviews import (
    HEADER,
    ITEM,
    RATING,
    REVIEWS,
    TIME,
    USER,
    Review,
    from_fields,
)

LINES_SEEN = 1000  # lines of a table without header that are read to find the item column
CLEAR, UNCLEAR = 0.9, 0.1  # shares of ids like an ASIN in the item column and in the user column
LINES_OF_A_ROW = 100  # maximum; an open quote ends after that many lines
SEPARATORS = ",\t;|"
UNCLOSED = "unexpected end of data"  # message of the module csv for a quote without an end
_ITEM = re.compile(r"(?:B0[0-9A-Z]{8}|\d{9}[\dX])")  # an ASIN, or the ISBN of a book
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_WHOLE = re.compile(r"-?[0-9]{1,30}(?:\.0{1,30})?")
ORDERS = {"2014": ("user_id", "parent_asin"), "2018": ("parent_asin", "user_id")}
OLD_NAMES = {"reviewerid", "overall", "unixreviewtime"}
NAMES = {name.lower(): name for names in (USER, ITEM, RATING, TIME) for name in names}


class RatingsTable(NamedTuple):
    """The layout of a table of ratings."""

    kind: Kind[Review]
    separator: str


def ratings_table(path: Path) -> RatingsTable | None:
    """The layout of a table of ratings, by its first lines; None: the file is no table.

    Raises:
        UserError: it cannot be read, has other columns, or has no header and does not show which
            column holds the items.
    """
    lines = head(path, LINES_SEEN)
    if not lines or any(line.lstrip()[:1] in (b"{", b"[", b"<") for line in lines):
        return None
    first = lines[0].decode("utf-8", "replace")
    separator = max(SEPARATORS, key=first.count)
    if separator not in first or "\0" in first or "\ufffd" in first:
        return None
    rows = [row for line in lines if (row := _row_or_none(line, separator))]
    if _is_rating(rows[0] if rows else []):
        generation = _generation(path, list(filter(_is_rating, rows)))
        return _table(generation, [*ORDERS[generation], "rating", "timestamp"], separator, False)
    names = [NAMES.get(name.lower(), name) for name in rows[0]] if rows else []
    missing = [wanted for wanted in (USER, ITEM, RATING) if not set(wanted) & set(names)]
    if missing or len(set(names)) < len(names):
        raise UserError(
            f"{path}: a table with the first line {first.strip()[:CONTENT_SHOWN]!r}; "
            f"{REVIEWS.field} reads tables with the header {HEADER}; rename the columns"
        )
    is_old = OLD_NAMES & {name.lower() for name in names}
    return _table("2014" if is_old else "2023", names, separator, True)


def rows_of(
    blocks: Iterable[tuple[int, bytes]], separator: str
) -> Iterator[tuple[int, list[bytes | None]]]:
    """The rows of blocks of lines, each list with the number of its first line.

    The lines of a row are joined. Each further line of the row gives None, so that line numbers
    stay right. A quote that is not closed within `LINES_OF_A_ROW` lines ends with its line.
    """
    number, waiting = 1, list[bytes]()
    for first, block in blocks:
        number = number if waiting else first
        waiting += lines_of(block)
        done = _joined(waiting, separator, is_last=False)
        yield number, done
        number += len(done)
    yield number, _joined(waiting, separator, is_last=True)


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
            _parse(b"\n".join(lines[:size])[:MAX_LINE].decode("utf-8", "replace"), separator)
        except csv.Error as error:
            if str(error) == UNCLOSED:
                continue
        return size
    return 0


def _parse(text: str, separator: str) -> list[str]:
    """The values of one row.

    Raises:
        csv.Error: it is no row.
    """
    lines = [f"{line}\n" for line in text.split("\n")]
    rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    return [value.strip() for value in rows[0]]


def _row_or_none(line: bytes, separator: str) -> list[str] | None:
    try:
        return _parse(line.decode("utf-8", "replace"), separator)
    except csv.Error:
        return None


def _is_rating(row: list[str]) -> bool:
    """Whether this may be a row of a table without a header."""
    return (
        len(row) == 4 and all(row) and bool(_NUMBER.fullmatch(row[2]) and _WHOLE.fullmatch(row[3]))
    )


def _generation(path: Path, rows: list[list[str]]) -> str:
    """2014 or 2018, by the column that holds the items.

    Raises:
        UserError: there is no clear majority.
    """
    shares = [
        sum(bool(_ITEM.fullmatch(row[column])) for row in rows) / len(rows) for column in (0, 1)
    ]
    if max(shares) < CLEAR or min(shares) > UNCLEAR:
        raise UserError(
            f"{path}: a table of ratings without a header, and its first lines do not show clearly "
            f"which column holds the items; write the header {HEADER} above it, in the order of "
            "its columns"
        )
    return "2018" if shares[0] > shares[1] else "2014"


def _table(generation: str, names: list[str], separator: str, header: bool) -> RatingsTable:
    def parse(line: bytes) -> Review:
        try:
            values = _parse(line.decode(), separator)
        except UnicodeDecodeError as error:
            raise RejectedError("not UTF-8") from error
        except csv.Error as error:
            raise RejectedError(f"no row of CSV: {error}") from error
        if len(values) != len(names):
            raise RejectedError(f"not {len(names)} values")
        row: dict[str, Any] = {
            name: value for name, value in zip(names, values, strict=True) if value
        }
        for name in {*RATING, *TIME} & row.keys():
            row[name] = _number(row[name], name in TIME)
        return from_fields(row, generation)

    expected = f"rows of {separator.join(names)}"
    return RatingsTable(Kind(REVIEWS.field, expected, parse, header), separator)


def _number(text: str, is_whole: bool) -> int | float | str:
    """The number, or the text if it is not a number."""
    if is_whole:
        return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else text
    return float(text) if _NUMBER.fullmatch(text) else text
