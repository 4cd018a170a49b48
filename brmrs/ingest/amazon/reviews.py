"""Reviews of the three public generations.

A field is read under each of its names, in this order; null counts as absent:

| | 2014, 2018 | 2023 |
|---|---|---|
| user | `reviewerID` | `user_id` |
| item | `asin` | `parent_asin`, else `asin` |
| rating | `overall` | `rating` |
| time | `unixReviewTime`, seconds | `timestamp`, milliseconds |

The unit of a time depends on its size, not on the field: numbers under `SECONDS_BELOW` are seconds.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from brmrs.ingest.amazon import fast_decode
from brmrs.ingest.amazon.fast_decode import (
    IN_SECONDS,
    MAX_RATING,
    MIN_RATING,
    SECONDS_BELOW,
)
from brmrs.ingest.amazon.records import Kind, RejectedError, identifier, json_object
from brmrs.ingest.interactions import END_OF_TIME, NO_TIME

USER, ITEM = ("reviewerID", "user_id"), ("parent_asin", "asin")
RATING, TIME = ("overall", "rating"), ("unixReviewTime", "timestamp")
HEADER = "user_id,parent_asin,rating,timestamp"  # of a table of ratings


class Review(NamedTuple):
    """One interaction.

    Attributes:
        user_id: raw id.
        asin: raw id of the item.
        rating: stars.
        timestamp: ms since 1970-01-01 UTC; None: absent.
        generation: "2014", "2018" or "2023".
        other_unit: the time has another unit than the generation documents.
    """

    user_id: str
    asin: str
    rating: float
    timestamp: int | None
    generation: str
    other_unit: bool = False


def parse(line: bytes) -> Review:
    """Read one JSON line.

    Raises:
        RejectedError: it is no review, or a field is missing or out of range.
    """
    try:
        row = json_object(line)
    except RejectedError:
        found = fast_decode.decode(line.strip(b" \t\r") + b"\n")
        if found is None:
            raise
        return _first(found)
    return from_fields(row, _generation(row))


def from_fields(row: Mapping[str, Any], generation: str) -> Review:
    """The review that these fields hold, under any of their names.

    Raises:
        RejectedError: a field is missing or out of range.
    """
    user = identifier(_field(row, USER), "user id")
    item = identifier(_field(row, ITEM), "item id")
    rating = check_rating(_field(row, RATING))
    time = check_time(_field(row, TIME))
    if time is None:
        return Review(user, item, rating, None, generation)
    in_seconds = time < SECONDS_BELOW
    other_unit = in_seconds != IN_SECONDS[generation]
    return Review(user, item, rating, time * 1000 if in_seconds else time, generation, other_unit)


REVIEWS = Kind(
    field="ingest.reviews",
    expected=(
        "one JSON object per line with reviewerID, asin, overall (2014, 2018) or user_id, "
        f"parent_asin, rating (2023), or a table with the header {HEADER}"
    ),
    parse=parse,
)


def _field(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of these names that is present."""
    for name in names:
        if (value := row.get(name)) is not None:
            return value
    return None


def _generation(row: Mapping[str, Any]) -> str:
    if row.get("reviewerID") is None:
        return "2023"
    return "2014" if row.get("verified") is None else "2018"


def _first(found: fast_decode.Reviews) -> Review:
    """A line that orjson refuses for a field that is not needed, such as one of 1e999."""
    time = int(found.timestamp[0])
    return Review(
        found.user[0].as_py(),
        found.item[0].as_py(),
        float(found.rating[0]),
        None if time == NO_TIME else time,
        next(iter(found.generations)),
        bool(found.other_unit),
    )


def check_rating(value: Any) -> float:
    """The stars.

    Raises:
        RejectedError: they are missing or out of range.
    """
    if value is None:
        raise RejectedError("no rating", is_other=True)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedError("rating is not a number")
    if not MIN_RATING <= value <= MAX_RATING:
        raise RejectedError("rating is not within 1 to 5")
    return float(value)


def check_time(value: Any) -> int | None:
    """The time, unchanged: in seconds if it is under `SECONDS_BELOW`, else in milliseconds.

    Raises:
        RejectedError: it is no whole number, or out of range in either unit.
    """
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RejectedError("time is not a whole number")
    if not 0 <= value < END_OF_TIME or END_OF_TIME // 1000 <= value < SECONDS_BELOW:
        raise RejectedError("time is not within 1970 to 2100")
    return value
