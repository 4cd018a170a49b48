"""Blocks of review lines decoded at once by Arrow's JSON reader, the needed fields alone.

What is read here is what `reviews.parse` would read; whatever else a block may hold, even in one
line, makes it unreadable as a whole, and its lines go through `reviews.parse`.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from brmrs.ingest.dump import MAX_ID, RejectedError, identifier
from brmrs.ingest.interactions import NO_TIME
from brmrs.ingest.lines import MAX_LINE

# All three data sets document stars from 1 to 5; a rating of 0 or 100 is no rating.
MIN_RATING, MAX_RATING = 1.0, 5.0
MAX_TIME = 4_102_444_800_000  # ms; the year 2100
MILLISECONDS = {"2014": 1000, "2018": 1000, "2023": 1}  # in the unit of each generation

# Large strings: the ids of a corpus may take more than 2 GiB together.
_STRING, _DOUBLE, _WHOLE = pa.large_string(), pa.float64(), pa.int64()
_OLD = {"reviewerID": _STRING, "asin": _STRING, "overall": _DOUBLE, "unixReviewTime": _WHOLE}
_NEW = {"user_id": _STRING, "parent_asin": _STRING, "rating": _DOUBLE, "timestamp": _WHOLE}


def _only(fields: dict[str, pa.DataType]) -> pj.ParseOptions:
    return pj.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore")


_READ_OLD = _only({**_OLD, "verified": pa.bool_()})
_READ_NEW = _only({**_NEW, "reviewerID": _STRING})


class Reviews(NamedTuple):
    """The reviews of a block, one for each line.

    Attributes:
        user: (n,) raw ids, pyarrow large strings.
        item: (n,) likewise.
        rating: (n,) stars.
        timestamp: (n,) ms, `NO_TIME` where absent.
        generations: the number of lines of each.
    """

    user: pa.LargeStringArray
    item: pa.LargeStringArray
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    generations: dict[str, int]


def decode(block: bytes) -> Reviews | None:
    """The reviews of a block of whole lines, or None: then its lines must be read one by one.

    Holds no lock of the interpreter for most of its time, so several threads may decode at once.

    Args:
        block: lines that end with a line feed.
    """
    if block.endswith(b"\r\n"):
        block = block.replace(b"\r\n", b"\n")
    count = _objects(block)
    if not count:
        return None
    old = b'"reviewerID"' in block[: block.index(b"\n")]  # else the lines of 2023, or none
    options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        table = pj.read_json(
            pa.BufferReader(block),
            read_options=options,
            parse_options=_READ_OLD if old else _READ_NEW,
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):  # the latter from Arrow's message
        return None
    if table.num_rows != count:
        return None
    if old and not table["reviewerID"].null_count:
        verified = count - table["verified"].null_count
        generations = {"2018": verified, "2014": count - verified}
        return _checked(table.select(list(_OLD)), MILLISECONDS["2018"], generations)
    if not old and table["reviewerID"].null_count == count:
        return _checked(table.select(list(_NEW)), MILLISECONDS["2023"], {"2023": count})
    return None


def _checked(table: pa.Table, unit: int, generations: dict[str, int]) -> Reviews | None:
    """The reviews, if each field of each line may stand as it is.

    Args:
        table: user, item, rating, time.
        unit: milliseconds in a unit of the time.
        generations: the number of lines of each.
    """
    user, item, stars, when = (column.combine_chunks() for column in table.columns)
    if stars.null_count or not (_are_ids(user) and _are_ids(item)):
        return None
    rating = stars.to_numpy()
    time = pc.fill_null(when, 0).to_numpy()
    in_range = (rating >= MIN_RATING) & (rating <= MAX_RATING)
    in_range &= (time >= 0) & (time < MAX_TIME // unit)
    if not in_range.all():
        return None
    timestamp = time * unit
    if when.null_count:
        timestamp = np.where(when.is_null().to_numpy(zero_copy_only=False), NO_TIME, timestamp)
    present = {name: lines for name, lines in generations.items() if lines}
    return Reviews(user, item, rating.astype(np.float32), timestamp, present)


def _are_ids(values: pa.LargeStringArray) -> bool:
    """Whether `dump.identifier` takes all of them; nearly all are short, of letters and digits."""
    if values.null_count:
        return False
    short = pc.less_equal(pc.binary_length(values), MAX_ID)
    other = pc.invert(pc.and_(pc.ascii_is_alnum(values), short))
    try:
        for value in values.filter(other).unique().to_pylist():
            identifier(value, "id")
    except RejectedError:
        return False
    return True


def _objects(block: bytes) -> int:
    """How many lines, if each can only be one JSON object in UTF-8; else 0.

    Arrow takes any white space between values and inside them, and does not look at the bytes of
    strings that it skips. Between a "}" and a "{" no value can go on, and strings hold no line
    feed, so where every line feed stands between such, all are between values.
    """
    if len(block) > MAX_LINE or not (block.startswith(b"{") and block.endswith(b"}\n")):
        return 0
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    closed = bool((data[ends - 1] == ord("}")).all())
    opened = bool((data[ends[:-1] + 1] == ord("{")).all())
    return len(ends) if closed and opened and _is_utf8(block) else 0


def _is_utf8(block: bytes) -> bool:
    if block.isascii():
        return True
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
