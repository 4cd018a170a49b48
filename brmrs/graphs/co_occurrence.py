"""The user co-occurrence graph (DualGNN, Wang 2021)."""

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from brmrs.graphs.homogeneous import row_normalised
from brmrs.graphs.nearest import nearest
from brmrs.graphs.similarity import Similarity
from brmrs.graphs.sparse import SparseMatrix

BLOCK_BYTES = 2**28  # memory of the rows of users that are computed at once


def user_graph(users: Tensor, items: Tensor, n_users: int, n_items: int, k: int) -> SparseMatrix:
    """(U, U): for each user the k users with the most items in common, weighted by the softmax
    of these counts.

    A user with fewer than k such users keeps those; ties go to the lower id.

    Args:
        users: (N,) int64, of the training interactions.
        items: (N,) int64.
        n_users: U.
        n_items: I.
        k: neighbours.
    """
    ends = users.cpu().numpy(), items.cpu().numpy()
    r = sp.csr_matrix((np.ones(len(users)), ends), shape=(n_users, n_items))
    found = nearest(Similarity(r, {}, {}, 1.0, "count"), k, BLOCK_BYTES, "user co-occurrence")
    # The overlap "count" is divided by the largest degree.
    counts = np.rint(found.weights * np.diff(r.indptr).max(initial=0))
    most = np.zeros(n_users)
    np.maximum.at(most, found.rows, counts)
    shares = np.exp(counts - most[found.rows])
    weights = sp.csr_matrix((shares, (found.rows, found.columns)), shape=(n_users, n_users))
    return SparseMatrix.from_scipy(row_normalised(weights)).to(users.device)
