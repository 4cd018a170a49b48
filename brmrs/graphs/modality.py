"""Item graphs of one modality, from nearest neighbours to what FREEDOM and LATTICE propagate over.

All of it runs on the device of the graphs and keeps to their edges: nothing is ever dense.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from brmrs.graphs.sparse import SparseMatrix


def edges(graph: SparseMatrix) -> tuple[Tensor, Tensor, Tensor]:
    """(E,) int64 rows, (E,) int64 columns, (E,) values, sorted by (row, column)."""
    csr = graph.csr
    counts = csr.crow_indices().diff()
    rows = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return rows, csr.col_indices().long(), csr.values()


def with_self_loops(graph: SparseMatrix) -> SparseMatrix:
    """The same graph, and where a row has edges one of weight 1, the node's cosine with itself."""
    rows, columns, values = edges(graph)
    nodes = rows.unique()
    return _coalesced(
        torch.cat([rows, nodes]),
        torch.cat([columns, nodes]),
        torch.cat([values, torch.ones_like(values[: len(nodes)])]),
        graph.shape,
    )


def symmetric(graph: SparseMatrix) -> SparseMatrix:
    """D^-1/2 W D^-1/2 with D_ii = sum_j W_ij; nothing reaches a node without edges of its own."""
    rows, columns, values = edges(graph)
    degrees = torch.zeros(graph.shape[0], device=values.device).index_add_(0, rows, values)
    root = degrees.rsqrt().where(degrees > 0, 0)
    return SparseMatrix.from_edges(rows, columns, root[rows] * values * root[columns], graph.shape)


def unweighted(graph: SparseMatrix) -> SparseMatrix:
    """The same edges, each of weight 1."""
    rows, columns, values = edges(graph)
    return SparseMatrix.from_edges(rows, columns, torch.ones_like(values), graph.shape)


def mixture(parts: Iterable[tuple[float, SparseMatrix]]) -> SparseMatrix:
    """sum_m w_m G_m, over the union of the edges."""
    parts = list(parts)
    listed = [(weight, *edges(graph)) for weight, graph in parts]
    return _coalesced(
        torch.cat([rows for _, rows, _, _ in listed]),
        torch.cat([columns for _, _, columns, _ in listed]),
        torch.cat([weight * values for weight, _, _, values in listed]),
        parts[0][1].shape,
    )


def _coalesced(
    rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]
) -> SparseMatrix:
    """From edges in any order; the values of a pair that comes twice are added up."""
    keys, place = torch.unique(rows * shape[1] + columns, return_inverse=True)
    sums = torch.zeros(len(keys), device=values.device).index_add_(0, place, values)
    return SparseMatrix.from_edges(keys // shape[1], keys % shape[1], sums, shape)
