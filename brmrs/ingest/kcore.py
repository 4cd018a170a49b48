"""The k-core of the user-item graph, on integers, and the sizes of the cores of each k.

Interactions come in blocks, so that they need not fit in memory at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brmrs.errors import UserError

SIZES_OF = range(2, 11)  # k

# (n,) user codes and (n,) item codes, from 0. No pair twice, also not in two blocks.
Block = tuple[NDArray[np.int32], NDArray[np.int32]]
# Holds blocks, so that they can be iterated over several times. `list` holds them in memory.
Hold = Callable[[Iterator[Block]], Iterable[Block]]


class Core(NamedTuple):
    """A k-core. An interaction belongs to it if its user and its item do.

    Attributes:
        user: (U,) int32, interactions of each user in the core; 0 outside.
        item: (I,) int32, the same for items.
        blocks: its interactions.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    blocks: Iterable[Block]

    def holds(self, user: NDArray[np.int32], item: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of the interactions that it was taken from belong to it."""
        return (self.user[user] > 0) & (self.item[item] > 0)

    def without_blocks(self) -> "Core":
        """The same without its interactions, which may take memory or disk."""
        return self._replace(blocks=())

    def sizes(self) -> dict[str, int]:
        """The numbers of users, items and interactions."""
        return {
            "users": int(np.count_nonzero(self.user)),
            "items": int(np.count_nonzero(self.item)),
            "interactions": int(self.user.sum(dtype=np.int64)),
        }


def core_of(blocks: Iterable[Block], k: int, hold: Hold = list) -> Core:
    """The k-core: the largest set in which every user and every item has k interactions or more.

    Interactions of users or items with fewer are removed until none has fewer. The core is unique,
    so the order of removal does not matter.

    Args:
        blocks: the interactions; iterated over twice.
        k: 0 or 1 keeps everything.
        hold: where the interactions that remain after a round are held.
    """
    k = max(k, 1)
    n_users = n_items = 0
    while True:
        user, item = _counts(blocks)
        n_users, n_items = max(n_users, len(user)), max(n_items, len(item))
        enough_user, enough_item = user >= k, item >= k
        if ((user == 0) | enough_user).all() and ((item == 0) | enough_item).all():
            return Core(_padded(user, n_users), _padded(item, n_items), blocks)
        blocks = hold(_within(blocks, enough_user, enough_item))


def _counts(blocks: Iterable[Block]) -> Block:
    """The numbers of interactions of each user and of each item."""
    user = item = np.zeros(0, dtype=np.int32)
    for users, items in blocks:
        user, item = _counted(user, users), _counted(item, items)
    return user, item


def _counted(total: NDArray[np.int32], codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Add the number of each code. Only the range of these codes is touched."""
    if not len(codes):
        return total
    low = int(codes.min())
    more = np.bincount(codes if low == 0 else codes - low)
    end = low + len(more)
    total = _padded(total, end)
    total[low:end] += more.astype(np.int32)
    return total


def _padded(counts: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    """The counts, extended by zeros to a length if they are shorter."""
    return np.pad(counts, (0, max(0, length - len(counts))))


def _within(
    blocks: Iterable[Block], user: NDArray[np.bool_], item: NDArray[np.bool_]
) -> Iterator[Block]:
    for users, items in blocks:
        kept = user[users] & item[items]
        yield users[kept], items[kept]


def k_core(user: NDArray[np.int32], item: NDArray[np.int32], k: int) -> NDArray[np.intp]:
    """Positions of the interactions in the k-core, ascending.

    Args:
        user: (N,) codes from 0.
        item: (N,) codes from 0, no (user, item) pair twice.
        k: 0 or 1 keeps everything.
    """
    return np.flatnonzero(core_of([(user, item)], k).holds(user, item))


def core_or_refuse(
    blocks: Iterable[Block], k: int, sizes: Mapping[str, int], hold: Hold = list
) -> Core:
    """The k-core, if it is not empty.

    Args:
        blocks: as for `core_of`.
        k: the setting `ingest.k`.
        sizes: numbers of users, items and interactions of the blocks.
        hold: as for `core_of`.

    Raises:
        UserError: nothing is left.
    """
    if not sizes["interactions"]:
        raise UserError("ingest.min_rating: no review is left; lower ingest.min_rating")
    core = core_of(blocks, k, hold)
    if core.sizes()["interactions"]:
        return core
    raise UserError(
        f"ingest.k: nothing is left of {sizes['interactions']:,} interactions of "
        f"{sizes['users']:,} users with {sizes['items']:,} items after the {k}-core; "
        f"set ingest.k={largest_k(blocks, k, hold)} or lower, or add reviews"
    )


def largest_k(blocks: Iterable[Block], below: int, hold: Hold = list) -> int:
    """The largest k under `below` whose k-core is not empty; 0 where there are no interactions.

    Cores are nested (the k-core holds the k+1-core), so bisection finds it.
    """
    low, high = 0, below  # the core of `low` is not empty, unless there are no interactions
    while high - low > 1:
        middle = (low + high) // 2
        if core_of(blocks, middle, hold).sizes()["interactions"]:
            low = middle
        else:
            high = middle
    return low


def core_sizes(
    blocks: Iterable[Block], ks: range = SIZES_OF, hold: Hold = list
) -> list[dict[str, int]]:
    """Users, items and interactions of each k-core, for ascending k."""
    sizes = []
    for k in ks:
        core = core_of(blocks, k, hold)
        blocks = core.blocks  # cores are nested
        sizes.append({"k": k, **core.sizes()})
    return sizes
