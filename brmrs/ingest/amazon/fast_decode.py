"""Decode blocks of review lines at once, each needed field with a fixed type.

A block is decoded only if each of its lines gives what `reviews.parse` would give. Otherwise the
caller parses its lines one by one.
"""

from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from brmrs.ingest.amazon.records import MAX_ID, RejectedError, identifier
from brmrs.ingest.interactions import END_OF_TIME
from brmrs.ingest.lines import MAX_LINE

# All three data sets document stars from 1 to 5; a rating of 0 or 100 is no rating.
MIN_RATING, MAX_RATING = 1.0, 5.0
# Times are ms since 1970. The oldest reviews are of 1995: a smaller number counts seconds.
SECONDS_BELOW = 788_918_400_000  # ms; 1995-01-01
IN_SECONDS = {"2014": True, "2018": True, "2023": False}  # as each generation documents it

Stars = Annotated[float, Meta(ge=MIN_RATING, le=MAX_RATING)]
Time = Annotated[int, Meta(ge=0, lt=END_OF_TIME)]
OLD = {"user": "reviewerID", "item": "asin", "rating": "overall", "time": "unixReviewTime"}
NEW = {"user": "user_id", "item": "parent_asin", "time": "timestamp"}


class Row2014(Struct, gc=False, rename=OLD):
    """A review of 2014. Fields of type UnsetType must be absent."""

    user: str
    item: str
    rating: Stars
    time: Time
    verified: UnsetType = UNSET
    parent_asin: UnsetType = UNSET


class Row2018(Struct, gc=False, rename=OLD):
    """A review of 2018."""

    user: str
    item: str
    rating: Stars
    time: Time
    verified: bool
    parent_asin: UnsetType = UNSET


class Row2023(Struct, gc=False, rename=NEW):
    """A review of 2023."""

    user: str
    item: str
    rating: Stars
    time: Time
    reviewerID: UnsetType = UNSET  # noqa: N815
    overall: UnsetType = UNSET
    unixReviewTime: UnsetType = UNSET  # noqa: N815


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
        item: (n,) raw ids, pyarrow large strings.
        rating: (n,) stars.
        timestamp: (n,) ms, `NO_TIME` where absent.
        generations: the number of lines of each.
        other_unit: the number of lines whose time has another unit than their generation documents.
    """

    user: pa.LargeStringArray
    item: pa.LargeStringArray
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    generations: dict[str, int]
    other_unit: int = 0


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
    seconds = time < SECONDS_BELOW
    time = np.where(seconds, time * 1000, time)
    if (time >= END_OF_TIME).any():
        return None
    other_unit = int((seconds != IN_SECONDS[generation]).sum())
    return Reviews(user, item, rating, time, {generation: count}, other_unit)


def _likely(line: bytes) -> str:
    """A guess of the generation of a line; the decoder then checks it."""
    if b'"reviewerID"' not in line:
        return "2023"
    return "2018" if b'"verified"' in line else "2014"


def _are_ids(values: pa.LargeStringArray) -> bool:
    """Whether `records.identifier` accepts all of them. Nearly all are short and alphanumeric."""
    _, offsets, content = values.buffers()
    lengths = np.diff(np.frombuffer(offsets, dtype=np.int64, count=len(values) + 1))
    if lengths.min() > 0 and lengths.max() <= MAX_ID and content.to_pybytes().isalnum():
        return True
    short = pc.less_equal(pc.binary_length(values), MAX_ID)
    other = pc.invert(pc.and_(pc.ascii_is_alnum(values), short))
    try:
        for value in values.filter(other).unique().to_pylist():
            identifier(value, "id")
    except RejectedError:
        return False
    return True


def _objects(block: bytes) -> int:
    """The number of lines, if each can only be one JSON object in UTF-8; else 0.

    msgspec accepts any white space between and inside values, and does not check the bytes of
    strings that it skips. No value continues from a "}" to a "{", and JSON strings hold no line
    feed. So if every line feed is between a "}" and a "{", each line is one object.
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
    buffers = [None, pa.py_buffer(np.array([0, len(block)])), pa.py_buffer(block)]
    try:
        pa.Array.from_buffers(pa.large_string(), 1, buffers).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
