"""The user-item graph: normalised symmetrically (LightGCN, He 2020), or to means."""

import torch
from torch import Tensor

from brmrs.graphs.sparse import SparseMatrix


def normalised(users: Tensor, items: Tensor, n_users: int, n_items: int) -> SparseMatrix:
    """D_u^-1/2 R D_i^-1/2 of the interactions, as the (U, I) block of the bipartite graph.

    The graph on users and items is [[0, R], [R^T, 0]], so this block and its transpose are all
    that a propagation needs: half the products and memory of the (U + I)^2 matrix.

    Args:
        users: (N,) int64, sorted with `items` by (user, item), no pair twice.
        items: (N,) int64.
        n_users: U.
        n_items: I.
    """
    values = inverse_root_degree(users, n_users) * inverse_root_degree(items, n_items)
    return SparseMatrix.from_edges(users, items, values, (n_users, n_items))


def means(
    users: Tensor, items: Tensor, n_users: int, n_items: int
) -> tuple[SparseMatrix, SparseMatrix]:
    """(U, I) mean over each user's items and (I, U) mean over each item's users, D^-1 A.

    Args:
        users: (N,) int64, sorted with `items` by (user, item), no pair twice.
        items: (N,) int64.
        n_users: U.
        n_items: I.
    """
    of_users = inverse_root_degree(users, n_users).square()
    of_items = inverse_root_degree(items, n_items).square()
    order = torch.argsort(items, stable=True)
    ends = items[order], users[order]
    return (
        SparseMatrix.from_edges(users, items, of_users, (n_users, n_items)),
        SparseMatrix.from_edges(*ends, of_items[order], (n_items, n_users)),
    )


def inverse_root_degree(ends: Tensor, nodes: int) -> Tensor:
    """(N,) float32, for each edge 1 / sqrt(degree of its end)."""
    return torch.bincount(ends, minlength=nodes)[ends].rsqrt()
