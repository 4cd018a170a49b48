"""Blocks of review lines decoded at once, each needed field to its one type.

What is read here is what `reviews.parse` would read; whatever else a block may hold, even in one
line, makes it unreadable as a whole, and its lines go through `reviews.parse`.
"""

from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from brmrs.ingest.amazon.lines import MAX_LINE
from brmrs.ingest.amazon.records import MAX_ID, RejectedError, identifier

# All three data sets document stars from 1 to 5; a rating of 0 or 100 is no rating.
MIN_RATING, MAX_RATING = 1.0, 5.0
MAX_TIME = 4_102_444_800_000  # ms; the year 2100
MILLISECONDS = {"2014": 1000, "2018": 1000, "2023": 1}  # in the unit of each generation

Stars = Annotated[float, Meta(ge=MIN_RATING, le=MAX_RATING)]
Seconds = Annotated[int, Meta(ge=0, lt=MAX_TIME // 1000)]
Milliseconds = Annotated[int, Meta(ge=0, lt=MAX_TIME)]
OLD = {"user": "reviewerID", "item": "asin", "rating": "overall", "time": "unixReviewTime"}
NEW = {"user": "user_id", "item": "parent_asin", "time": "timestamp"}


class Row2014(Struct, gc=False, rename=OLD):
    """A review of 2014."""

    user: str
    item: str
    rating: Stars
    time: Seconds
    verified: UnsetType = UNSET  # absent


class Row2018(Struct, gc=False, rename=OLD):
    """A review of 2018."""

    user: str
    item: str
    rating: Stars
    time: Seconds
    verified: bool


class Row2023(Struct, gc=False, rename=NEW):
    """A review of 2023."""

    user: str
    item: str
    rating: Stars
    time: Milliseconds
    reviewerID: UnsetType = UNSET  # absent  # noqa: N815


Row = Row2014 | Row2018 | Row2023
_DECODERS: dict[str, msgspec.json.Decoder[Row]] = {
    "2014": msgspec.json.Decoder(Row2014),
    "2018": msgspec.json.Decoder(Row2018),
    "2023": msgspec.json.Decoder(Row2023),
}


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

    Args:
        block: lines that end with a line feed.
    """
    if block.endswith(b"\r\n"):
        block = block.replace(b"\r\n", b"\n")
    count = _objects(block)
    if not count:
        return None
    generation = _likely(block[: block.index(b"\n")])
    try:
        rows = _DECODERS[generation].decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(rows) != count:
        return None
    user = pa.array([row.user for row in rows], pa.large_string())
    item = pa.array([row.item for row in rows], pa.large_string())
    if not (_are_ids(user) and _are_ids(item)):
        return None
    rating = np.array([row.rating for row in rows], dtype=np.float32)
    time = np.array([row.time for row in rows], dtype=np.int64)
    return Reviews(user, item, rating, time * MILLISECONDS[generation], {generation: count})


def _likely(line: bytes) -> str:
    """The generation that a line seems to be of; only the decoder knows."""
    if b'"reviewerID"' not in line:
        return "2023"
    return "2018" if b'"verified"' in line else "2014"


def _are_ids(values: pa.LargeStringArray) -> bool:
    """Whether `dump.identifier` takes all of them; nearly all are short, of letters and digits."""
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

    msgspec takes any white space between values and inside them, and does not look at the bytes of
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
