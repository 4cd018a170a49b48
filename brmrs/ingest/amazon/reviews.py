"""Reviews of the three public generations, told apart line by line by their fields.

| generation | user | item | rating | time |
|---|---|---|---|---|
| 2014, 2018 | `reviewerID` | `asin` | `overall` | `unixReviewTime`, seconds |
| 2023 | `user_id` | `parent_asin` | `rating` | `timestamp`, milliseconds |

Lines of 2018 tell whether the purchase is `verified`, those of 2014 do not. A field that is null
counts as absent.
"""

from typing import Any, NamedTuple

from brmrs.ingest.amazon import fast_decode as typed
from brmrs.ingest.amazon.fast_decode import MAX_RATING, MAX_TIME, MILLISECONDS, MIN_RATING
from brmrs.ingest.amazon.records import Kind, RejectedError, identifier, json_object
from brmrs.ingest.interactions import NO_TIME


class Review(NamedTuple):
    """One interaction as the dump states it."""

    user_id: str
    asin: str
    rating: float  # stars
    timestamp: int | None  # ms since 1970-01-01 UTC
    generation: str


def parse(line: bytes) -> Review:
    """Read one line.

    Raises:
        RejectedError: it is no review, or a field is missing or absurd.
    """
    try:
        row = json_object(line)
    except RejectedError:
        found = typed.decode(line.strip(b" \t\r") + b"\n")
        if found is None:
            raise
        return _first(found)
    if row.get("reviewerID") is not None:
        return Review(
            identifier(row["reviewerID"], "user id"),
            identifier(row.get("asin"), "item id"),
            check_rating(row.get("overall")),
            check_time(row.get("unixReviewTime"), MILLISECONDS["2018"]),
            "2014" if row.get("verified") is None else "2018",
        )
    return Review(
        identifier(row.get("user_id"), "user id"),
        identifier(row.get("parent_asin"), "item id"),
        check_rating(row.get("rating")),
        check_time(row.get("timestamp"), MILLISECONDS["2023"]),
        "2023",
    )


REVIEWS = Kind(
    field="ingest.reviews",
    expected=(
        "one JSON object a line with reviewerID, asin, overall (2014, 2018) "
        "or user_id, parent_asin, rating (2023)"
    ),
    parse=parse,
)


def _first(found: typed.Reviews) -> Review:
    """A line that orjson refuses for what no review needs, such as 1e999 in another field."""
    time = int(found.timestamp[0])
    return Review(
        found.user[0].as_py(),
        found.item[0].as_py(),
        float(found.rating[0]),
        None if time == NO_TIME else time,
        next(iter(found.generations)),
    )


def check_rating(value: Any) -> float:
    """The stars.

    Raises:
        RejectedError: they are missing or absurd.
    """
    if value is None:
        raise RejectedError("no rating")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedError("rating is not a number")
    if not MIN_RATING <= value <= MAX_RATING:
        raise RejectedError("rating is not within 1 to 5")
    return float(value)


def check_time(value: Any, milliseconds: int) -> int | None:
    """The time in ms; `milliseconds` is the unit of `value`.

    Raises:
        RejectedError: it is absurd.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise RejectedError("time is not a whole number")
    if not 0 <= value * milliseconds < MAX_TIME:
        raise RejectedError("time is not within 1970 to 2100")
    return value * milliseconds
