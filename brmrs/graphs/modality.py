"""Item graphs of one modality: normalised and mixed nearest neighbours.

All operations run on the device of the graphs and store edges only, never a dense matrix.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from brmrs.graphs.sparse import SparseMatrix, multiply

BLOCK_BYTES = 2**26  # memory of the inner products that are computed at once


class Weighted(NamedTuple):
    """(E,) int64 rows, (E,) int64 columns and (E,) weights of a graph."""

    rows: Tensor
    columns: Tensor
    values: Tensor


def edges(graph: SparseMatrix) -> Weighted:
    """The edges of a matrix, sorted by (row, column)."""
    csr = graph.csr
    counts = csr.crow_indices().diff()
    rows = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return Weighted(rows, csr.col_indices().long(), csr.values())


def added(parts: Iterable[Weighted], columns: int) -> Weighted:
    """The sum of graphs with that many columns, sorted; differentiable in the weights."""
    keys, place, values = _merged(parts, columns)
    sums = values.new_zeros(len(keys)).index_add(0, place, values)
    return Weighted(keys // columns, keys % columns, sums)


def maximum(parts: Iterable[SparseMatrix]) -> SparseMatrix:
    """For each edge of any of the (n, m) graphs the largest of its weights, which are above 0."""
    parts = list(parts)
    shape = parts[0].shape
    keys, place, values = _merged(map(edges, parts), shape[1])
    largest = values.new_zeros(len(keys)).scatter_reduce(0, place, values, "amax")
    return SparseMatrix.from_edges(keys // shape[1], keys % shape[1], largest, shape)


def _merged(parts: Iterable[Weighted], columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct edges as sorted keys; of each given edge, the place of its key and its weight."""
    rows, ends, values = (torch.cat(list(part)) for part in zip(*parts, strict=True))
    keys, order = torch.sort(rows * columns + ends, stable=True)
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys.diff() != 0
    return keys[first], first.cumsum(0) - 1, values[order]


def scaled(weight: float | Tensor, graph: Weighted) -> Weighted:
    """The graph times a scalar."""
    return graph._replace(values=weight * graph.values)


def with_self_loops(graph: SparseMatrix, nodes: Tensor | None = None) -> SparseMatrix:
    """The same graph with self loops of weight 1 (the cosine of a node with itself).

    Args:
        graph: square.
        nodes: those that get a loop; None: every node whose row has edges.
    """
    if nodes is None:
        nodes = graph.csr.crow_indices().diff().nonzero().squeeze(1)
    listed = edges(graph)
    loops = Weighted(nodes, nodes, listed.values.new_ones(len(nodes)))
    return SparseMatrix.from_edges(*added([listed, loops], graph.shape[1]), graph.shape)


def symmetric(graph: SparseMatrix) -> SparseMatrix:
    """D^-1/2 W D^-1/2 with D_ii = sum_j W_ij; edges to a node without outgoing edges get 0."""
    rows, columns, values = edges(graph)
    # A product sums in the order of the edges; index_add on a GPU does not.
    degrees = multiply(graph.csr, values.new_ones(graph.shape[1], 1)).squeeze(1)
    root = degrees.rsqrt().where(degrees > 0, 0)
    return SparseMatrix.from_edges(rows, columns, root[rows] * values * root[columns], graph.shape)


def unweighted(graph: SparseMatrix) -> SparseMatrix:
    """The same edges, each of weight 1."""
    rows, columns, values = edges(graph)
    return SparseMatrix.from_edges(rows, columns, torch.ones_like(values), graph.shape)


def frozen(graph: SparseMatrix) -> SparseMatrix:
    """D^-1/2 S D^-1/2 of the unweighted graph with self loops (FREEDOM, PGL)."""
    return symmetric(unweighted(with_self_loops(graph)))


def mixture(parts: Iterable[tuple[float, SparseMatrix]]) -> SparseMatrix:
    """sum_m w_m G_m."""
    parts = list(parts)
    shape = parts[0][1].shape
    listed = [scaled(weight, edges(graph)) for weight, graph in parts]
    return SparseMatrix.from_edges(*added(listed, shape[1]), shape)


@torch.no_grad()
def nearest_rows(x: Tensor, k: int) -> Tensor:
    """(n, d) rows to (n, min(k, n)) int64: those with the largest inner products with each.

    Computed in blocks of rows of at most BLOCK_BYTES, never as one (n, n) matrix.
    """
    size = max(1, BLOCK_BYTES // (x.element_size() * len(x)))
    blocks = torch.split(x, size)
    return torch.cat([(block @ x.T).topk(min(k, len(x))).indices for block in blocks])
