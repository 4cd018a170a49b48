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
from pathlib import Path
from typing import Any, NamedTuple

from brmrs.errors import UserError
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
from brmrs.ingest.csv_rows import SEPARATORS, parse_row
from brmrs.ingest.lines import head

LINES_SEEN = 1000  # lines of a table without header that are read to find the item column
CLEAR, UNCLEAR = 0.9, 0.1  # shares of ids like an ASIN in the item column and in the user column
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
            f"{REVIEWS.field} reads tables with the header {HEADER}; rename the columns, or set "
            "ingest.format=table"
        )
    is_old = OLD_NAMES & {name.lower() for name in names}
    return _table("2014" if is_old else "2023", names, separator, True)


def _row_or_none(line: bytes, separator: str) -> list[str] | None:
    try:
        return parse_row(line.decode("utf-8", "replace"), separator)
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
            values = parse_row(line.decode(), separator)
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
