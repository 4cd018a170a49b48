"""The user co-occurrence graph (DualGNN, Wang 2021)."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from brmrs.graphs.homogeneous import row_normalised
from brmrs.graphs.sparse import SparseMatrix

Ints = NDArray[np.int32]
BLOCK_ROWS = 1024  # users whose common items are counted at once


def user_graph(users: Tensor, items: Tensor, n_users: int, n_items: int, k: int) -> SparseMatrix:
    """(U, U): each user's k users with most items in common; weights the softmax of the counts.

    A user with fewer than k such users keeps those; ties go to the lower id.

    Args:
        users: (N,) int64, of the training interactions.
        items: (N,) int64.
        n_users: U.
        n_items: I.
        k: neighbours.
    """
    ends = users.cpu().numpy(), items.cpu().numpy()
    r = sp.csr_matrix((np.ones(len(users), dtype=np.int32), ends), shape=(n_users, n_items))
    blocks = [_nearest(r, start, k) for start in range(0, n_users, BLOCK_ROWS)]
    rows, columns, counts = (np.concatenate(part) for part in zip(*blocks, strict=True))
    weights = sp.csr_matrix((np.exp(counts), (rows, columns)), shape=(n_users, n_users))
    return SparseMatrix.from_scipy(row_normalised(weights)).to(users.device)


def _nearest(r: sp.csr_matrix, start: int, k: int) -> tuple[Ints, Ints, Ints]:
    """(E,) users of a block, (E,) their neighbours, (E,) how many items less than the nearest."""
    common = sp.coo_matrix(r[start : start + BLOCK_ROWS] @ r.T)
    others = common.row + start != common.col
    rows, columns, counts = common.row[others], common.col[others], common.data[others]
    order = np.lexsort((columns, -counts, rows))
    rows, columns, counts = rows[order], columns[order], counts[order]
    first = np.searchsorted(rows, rows)  # the place of each user's nearest
    kept = np.arange(len(rows)) - first < k
    return rows[kept] + start, columns[kept], (counts - counts[first])[kept]
