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
    return _peeled(Core(*_counts(blocks), blocks), k, hold)


def _peeled(core: Core, k: int, hold: Hold) -> Core:
    """The k-core of a core of a smaller k, whose counts are changed in place."""
    user, item, blocks = core
    while True:
        poor_user, poor_item = (user > 0) & (user < k), (item > 0) & (item < k)
        if not (poor_user.any() or poor_item.any()):
            return Core(user, item, blocks)
        blocks = hold(_without(blocks, poor_user, poor_item, user, item))


def _counts(blocks: Iterable[Block]) -> Block:
    """The numbers of interactions of each user and of each item."""
    user = item = np.zeros(0, dtype=np.int32)
    for users, items in blocks:
        user, item = _padded(user, users), _padded(item, items)
        _add(user, users, 1)
        _add(item, items, 1)
    return user, item


def _padded(counts: NDArray[np.int32], codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """The counts, extended by zeros to the largest code."""
    return np.pad(counts, (0, max(0, int(codes.max(initial=-1)) + 1 - len(counts))))


def _add(counts: NDArray[np.int32], codes: NDArray[np.int32], sign: int) -> None:
    """Add the number of each code, or subtract it. Only the range of these codes is touched."""
    if len(codes):
        low = int(codes.min())
        more = np.bincount(codes - np.int32(low))
        counts[low : low + len(more)] += sign * more.astype(np.int32)


def _without(
    blocks: Iterable[Block],
    poor_user: NDArray[np.bool_],
    poor_item: NDArray[np.bool_],
    user: NDArray[np.int32],
    item: NDArray[np.int32],
) -> Iterator[Block]:
    """The blocks without the interactions of poor users and items; updates the counts."""
    for users, items in blocks:
        removed = poor_user[users] | poor_item[items]
        kept = ~removed
        _add(user, users[removed], -1)
        _add(item, items[removed], -1)
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
    core = Core(*_counts(blocks), blocks)
    for k in ks:
        core = _peeled(core, k, hold)  # cores are nested
        sizes.append({"k": k, **core.sizes()})
    return sizes
