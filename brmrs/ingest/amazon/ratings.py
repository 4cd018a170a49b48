"""The ratings-only CSV files that each generation has beside its reviews.

| generation | header | columns | time |
|---|---|---|---|
| 2014 | no | user, item, rating, time | seconds |
| 2018 | no | item, user, rating, time | seconds |
| 2023 | yes | `user_id`, `parent_asin`, `rating`, `timestamp` | milliseconds |
"""

import re
from itertools import islice
from pathlib import Path

from brmrs.errors import UserError
from brmrs.ingest.amazon.fast_decode import MILLISECONDS
from brmrs.ingest.amazon.lines import CutOffError, read_lines
from brmrs.ingest.amazon.records import Kind, RejectedError, identifier
from brmrs.ingest.amazon.reviews import REVIEWS, Review, check_rating, check_time

LINES_SEEN = 1000  # to tell 2014 from 2018
HEADER = ["user_id", "parent_asin", "rating", "timestamp"]
_ROW = re.compile(rb"[^,\"{]+,[^,\"{]+,\d+(?:\.\d+)?,\d+\s*")
_ITEM = re.compile(r"(?:B0[0-9A-Z]{8}|\d{9}[\dX])")  # an ASIN, or the ISBN of a book
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_WHOLE = re.compile(r"-?[0-9]{1,30}")
ORDERS = {"2014": ("user_id", "parent_asin"), "2018": ("parent_asin", "user_id")}


def ratings_kind(path: Path) -> Kind[Review] | None:
    """How to read a ratings-only file, by its first lines; None where it is something else.

    Raises:
        UserError: it cannot be read, or does not show which column holds the items.
    """
    head = _head(path)
    if not head:
        return None
    columns = head[0].decode("utf-8", "replace").strip().lower().split(",")
    if columns[:4] == HEADER:
        return _kind("2023", HEADER, len(columns), True)
    if not _ROW.fullmatch(head[0]):
        return None
    rows = [line.decode("utf-8", "replace").split(",") for line in head if _ROW.fullmatch(line)]
    votes = [sum(bool(_ITEM.fullmatch(row[column])) for row in rows) for column in (0, 1)]
    if votes[0] == votes[1]:
        raise UserError(
            f"{path}: a table of ratings, but its first lines do not show which column holds the "
            f"items; write the header {','.join(HEADER)} above it (times in milliseconds)"
        )
    generation = "2018" if votes[0] > votes[1] else "2014"
    return _kind(generation, [*ORDERS[generation], "rating", "timestamp"], 4, False)


def _head(path: Path) -> list[bytes]:
    """The first lines that are not blank."""
    head: list[bytes] = []
    try:
        lines = read_lines(path, lambda _: None)
        head.extend(line for _, line in islice(lines, LINES_SEEN) if line.strip())
    except CutOffError:  # told where the file is read
        pass
    return head


def _kind(generation: str, order: list[str], width: int, header: bool) -> Kind[Review]:
    user, item = order.index("user_id"), order.index("parent_asin")

    def parse(line: bytes) -> Review:
        try:
            fields = line.decode().strip("\r\n").split(",")
        except UnicodeDecodeError as error:
            raise RejectedError("not UTF-8") from error
        if len(fields) != width:
            raise RejectedError(f"not {width} fields between commas")
        rating, time = fields[2].strip(), fields[3].strip()
        return Review(
            identifier(fields[user], "user id"),
            identifier(fields[item], "item id"),
            check_rating(float(rating) if _NUMBER.fullmatch(rating) else rating or None),
            check_time(
                int(time) if _WHOLE.fullmatch(time) else time or None, MILLISECONDS[generation]
            ),
            generation,
        )

    return Kind(REVIEWS.field, f"rows of {','.join(order)}", parse, header)
