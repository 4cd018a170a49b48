"""Interactions as columns of integers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_TIME = -1  # an absent timestamp; others are not negative
END_OF_TIME = 4_102_444_800_000  # ms; the year 2100. Later times are refused.
LARGEST_RATING = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Interactions:
    """N interactions.

    Attributes:
        user: (N,) int32 codes.
        item: (N,) int32 codes.
        rating: (N,) float32, stars; NaN where absent (not in raw dumps).
        timestamp: (N,) int64, ms since 1970-01-01 UTC, `NO_TIME` where absent.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Interactions":
        """The interactions at these positions, or where the mask holds."""
        return Interactions(
            self.user[rows], self.item[rows], self.rating[rows], self.timestamp[rows]
        )

    def sizes(self) -> dict[str, int]:
        """The numbers of users, items and interactions."""
        return {
            "users": distinct(self.user),
            "items": distinct(self.item),
            "interactions": len(self),
        }


def distinct(codes: NDArray[np.int32]) -> int:
    """The number of different codes. They are small, so counting is faster than sorting."""
    return int(np.count_nonzero(np.bincount(codes)))


def latest(interactions: Interactions) -> Interactions:
    """One interaction for each (user, item) pair, sorted by user and item: the latest.

    Of equally late ones the one with the higher rating stays; an absent time counts as the
    earliest. So the result does not depend on the order of the rows.
    """
    key = interactions.user.astype(np.int64) * (int(interactions.item.max(initial=0)) + 1)
    key += interactions.item
    order = np.argsort(key)
    key = key[order]
    same = key[1:] == key[:-1]
    if same.any():
        repeated = np.zeros(len(key), dtype=bool)
        repeated[1:] |= same
        repeated[:-1] |= same
        rows = order[repeated]
        by_time = (interactions.rating[rows], interactions.timestamp[rows], key[repeated])
        order[repeated] = rows[np.lexsort(by_time)]
    last = np.ones(len(key), dtype=bool)
    last[:-1] = ~same
    return interactions.take(order[last])


def positive(distinct: Interactions, min_rating: float | None) -> Interactions:
    """The interactions with at least this rating; None: all. An absent rating counts as enough."""
    if min_rating is None:
        return distinct
    # Not "rating >= minimum", so that an absent rating (NaN) stays.
    return distinct.take(~(distinct.rating < min_rating))
