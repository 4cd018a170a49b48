"""The sizes of the k-cores of a data set: how much each k would leave."""

import numpy as np
from numpy.typing import NDArray

from brmrs.ingest.interactions import distinct
from brmrs.ingest.kcore import k_core

SIZES_OF = range(2, 11)  # k


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
        user, item = user[kept], item[kept]  # cores are nested: the next one lies in this one
        sizes.append(
            {
                "k": k,
                "users": distinct(user),
                "items": distinct(item),
                "interactions": len(kept),
            }
        )
    return sizes
