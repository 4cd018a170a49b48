"""The k-core of the user-item graph, on integers, and the sizes of the cores of each k."""

import numpy as np
from numpy.typing import NDArray

from brmrs.ingest.interactions import distinct

SIZES_OF = range(2, 11)  # k


def k_core(user: NDArray[np.int32], item: NDArray[np.int32], k: int) -> NDArray[np.intp]:
    """Positions of the interactions in the k-core, ascending.

    The k-core is the largest set of interactions in which every user and every item has at least
    k of them: those of users or items with fewer are removed until none has fewer. It is unique,
    so the order of removal does not matter.

    Args:
        user: (N,) codes from 0.
        item: (N,) codes from 0, no (user, item) pair twice.
        k: 0 or 1 keeps everything.
    """
    kept = np.arange(len(user))
    while True:
        enough = (np.bincount(user) >= k)[user] & (np.bincount(item) >= k)[item]
        if enough.all():
            return kept
        kept, user, item = kept[enough], user[enough], item[enough]


def largest_k(user: NDArray[np.int32], item: NDArray[np.int32], below: int) -> int:
    """The largest k under `below` whose k-core is not empty; 0 where there are no interactions.

    Cores are nested (the k-core holds the k+1-core), so bisection finds it.
    """
    low, high = 0, below  # the core of `low` is not empty, unless there are no interactions
    while high - low > 1:
        middle = (low + high) // 2
        if len(k_core(user, item, middle)):
            low = middle
        else:
            high = middle
    return low


def core_sizes(
    user: NDArray[np.int32], item: NDArray[np.int32], ks: range = SIZES_OF
) -> list[dict[str, int]]:
    """Users, items and interactions of each k-core, for ascending k.

    Args:
        user: (N,) codes from 0.
        item: (N,) codes from 0, no (user, item) pair twice.
        ks: the values of k.
    """
    sizes = []
    for k in ks:
        kept = k_core(user, item, k)
        user, item = user[kept], item[kept]  # cores are nested
        sizes.append(
            {
                "k": k,
                "users": distinct(user),
                "items": distinct(item),
                "interactions": len(kept),
            }
        )
    return sizes
