"""The user-item graph with item-item edges in the same adjacency matrix, for SSC and GUME."""

from collections.abc import Iterable

import torch
from torch import Tensor

from brmrs.graphs import modality
from brmrs.graphs.modality import Weighted
from brmrs.graphs.sparse import SparseMatrix


def adjacency(
    users: Tensor, items: Tensor, shape: tuple[int, int], item_graph: SparseMatrix
) -> SparseMatrix:
    """D^-1/2 [[0, R], [R^T, S]] D^-1/2, (U + I, U + I), users first; D holds the row sums.

    Args:
        users: (N,) int64, sorted with `items` by (user, item), no pair twice.
        items: (N,) int64.
        shape: (U, I).
        item_graph: S, (I, I) with non-negative weights.
    """
    n_users, nodes = shape[0], sum(shape)
    ones = torch.ones(len(users), device=users.device)
    rows, columns, values = modality.edges(item_graph)
    parts = [
        Weighted(users, n_users + items, ones),
        Weighted(n_users + items, users, ones),
        Weighted(n_users + rows, n_users + columns, values),
    ]
    graph = SparseMatrix.from_edges(*modality.added(parts, nodes), (nodes, nodes))
    return modality.symmetric(graph)


def shifted(graph: SparseMatrix, shift: float, scale: float) -> SparseMatrix:
    """(A - shift I) / scale of a square matrix A."""
    size = graph.shape[0]
    nodes = torch.arange(size, device=graph.csr.device)
    diagonal = Weighted(nodes, nodes, torch.full((size,), -shift, device=nodes.device))
    listed = modality.added([modality.edges(graph), diagonal], size)
    return SparseMatrix.from_edges(*modality.scaled(1 / scale, listed), graph.shape)


def undirected(parts: Iterable[tuple[float, SparseMatrix]]) -> SparseMatrix:
    """sum_m w_m max(G_m, G_m^T) of the unweighted (I, I) graphs G_m.

    An edge of a part counts once, whether one of its ends or both have it.
    """
    return modality.mixture((weight, _both_ways(graph)) for weight, graph in parts)


def common(graphs: Iterable[SparseMatrix]) -> SparseMatrix:
    """The unweighted edges that all (I, I) graphs have."""
    graphs = [modality.unweighted(graph) for graph in graphs]
    shape = graphs[0].shape
    rows, columns, counts = modality.added(map(modality.edges, graphs), shape[1])
    kept = counts > len(graphs) - 0.5
    return SparseMatrix.from_edges(rows[kept], columns[kept], counts[kept].sign(), shape)


def _both_ways(graph: SparseMatrix) -> SparseMatrix:
    rows, columns, values = modality.edges(graph)
    listed = [Weighted(rows, columns, values), Weighted(columns, rows, values)]
    return modality.unweighted(
        SparseMatrix.from_edges(*modality.added(listed, graph.shape[1]), graph.shape)
    )
