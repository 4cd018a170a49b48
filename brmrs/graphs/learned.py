"""Graphs with fixed edges and learned weights: attention over interactions, learned item graphs.

Four operations on the edges, never on all pairs. Each of the first two is the gradient of the
other.

    product    y_i = sum_j a_ij x_j        dL/da_ij = <dL/dy_i, x_j>,  dL/dx = A^T dL/dy
    affinity   a_ij = <x_i, y_j>           dL/dx = A' y,  dL/dy = A'^T x,  with A' = dL/da
    softmax    a_ij = e^s_ij / sum_j' e^s_ij'      dL/ds_ij = a_ij (a'_ij - sum_j' a_ij' a'_ij')
    of_columns a_ij = c_j                  dL/dc_j = sum_i a'_ij
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from brmrs.graphs.sparse import SparseMatrix, multiply, wide


class Edges:
    """The edges of an (n, m) graph, without weights.

    Attributes:
        rows: (E,) int64, sorted with `columns` by (row, column), no pair twice.
        columns: (E,) int64.
        shape: (n, m).
    """

    def __init__(self, rows: Tensor, columns: Tensor, shape: tuple[int, int]):
        self.rows, self.columns, self.shape = rows, columns, shape
        self._order = torch.argsort(columns, stable=True)
        ones = torch.ones(len(rows), device=rows.device)
        self._pattern = SparseMatrix.from_edges(rows, columns, ones, shape)
        self._row_starts = self._pattern.csr.crow_indices().long()
        self._column_starts = self._pattern.transposed.crow_indices().long()

    def product(self, values: Tensor, x: Tensor) -> Tensor:
        """(E,) weights and (m, d) to A x, (n, d); differentiable in both."""
        result: Tensor = _Product.apply(self, wide(values), wide(x), False)
        return result

    def transposed_product(self, values: Tensor, x: Tensor) -> Tensor:
        """(E,) weights and (n, d) to A^T x, (m, d); differentiable in both."""
        result: Tensor = _Product.apply(self, wide(values), wide(x), True)
        return result

    def affinity(self, x: Tensor, y: Tensor) -> Tensor:
        """(n, d) and (m, d) to the (E,) inner products <x_i, y_j>; differentiable in both."""
        result: Tensor = _Affinity.apply(self, wide(x), wide(y))
        return result

    def softmax(self, values: Tensor, taking_part: Tensor, *, by_column: bool = False) -> Tensor:
        """(E,) softmaxes of (E,) values over the edges of each row, or of each column.

        Args:
            values: within [-50, 50], such as inner products of unit vectors, because exponentials
                are not shifted; differentiable.
            taking_part: (E,) bool; all other edges get weight 0.
            by_column: over the edges of a column.
        """
        result: Tensor = _Softmax.apply(self, wide(values), taking_part, by_column)
        return result

    def of_rows(self, x: Tensor) -> Tensor:
        """(n,) values of the rows to the (E,) edges; differentiable."""
        result: Tensor = _AtEdges.apply(self, wide(x), False)
        return result

    def of_columns(self, x: Tensor) -> Tensor:
        """(m,) values of the columns to the (E,) edges; differentiable."""
        result: Tensor = _AtEdges.apply(self, wide(x), True)
        return result

    def weighted(self, values: Tensor, *, transposed: bool) -> Tensor:
        """The CSR of (E,) weights, or of its transpose; without a gradient."""
        values = values.detach()
        if transposed:
            return _filled(self._pattern.transposed, values.index_select(0, self._order))
        return _filled(self._pattern.csr, values)

    def sums(self, values: Tensor, *, by_column: bool) -> Tensor:
        """(n,) sums of (E,) values over the edges of each row, or (m,) of each column; no gradient.

        By segments, because `index_add` on CUDA adds atomically, in an order that varies.
        """
        values = values.detach()
        if by_column:
            values = values.index_select(0, self._order)
        starts = self._column_starts if by_column else self._row_starts
        return torch.segment_reduce(values, "sum", offsets=starts)

    def at_edges(self, x: Tensor, *, by_column: bool) -> Tensor:
        """`of_rows` and `of_columns`, without a gradient."""
        return x.detach().index_select(0, self.columns if by_column else self.rows)

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """As `affinity`, without a gradient."""
        zero = _filled(self._pattern.csr, x.new_zeros(len(self.rows)))
        found: Tensor = torch.sparse.sampled_addmm(zero, x.contiguous(), y.T, beta=0.0).values()
        return found


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Edges, values: Tensor, x: Tensor, transposed: bool) -> Tensor:
        ctx.edges, ctx.transposed = edges, transposed
        ctx.save_for_backward(values, x)
        return multiply(edges.weighted(values, transposed=transposed), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor, None]:
        (upstream,), (values, x) = gradients, ctx.saved_tensors
        back = multiply(ctx.edges.weighted(values, transposed=not ctx.transposed), upstream)
        ends = (x, upstream) if ctx.transposed else (upstream, x)
        of_values = ctx.edges.inner(*ends) if ctx.needs_input_grad[1] else None
        return None, of_values, back, None


class _Affinity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Edges, x: Tensor, y: Tensor) -> Tensor:
        ctx.edges = edges
        ctx.save_for_backward(x, y)
        return edges.inner(x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor]:
        (upstream,), (x, y), edges = gradients, ctx.saved_tensors, ctx.edges
        of_x = multiply(edges.weighted(upstream, transposed=False), y)
        return None, of_x, multiply(edges.weighted(upstream, transposed=True), x)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, edges: Edges, values: Tensor, taking_part: Tensor, by_column: bool
    ) -> Tensor:
        ctx.edges, ctx.by_column = edges, by_column
        weights = values.exp().mul_(taking_part)
        sums = edges.sums(weights, by_column=by_column)
        # A row without an edge that takes part gets 0 / tiny, not 0 / 0.
        sums.clamp_(min=torch.finfo(sums.dtype).tiny)
        weights.div_(edges.at_edges(sums, by_column=by_column))
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, None]:
        (upstream,), (weights,), edges = gradients, ctx.saved_tensors, ctx.edges
        weighted = weights * upstream
        sums = edges.sums(weighted, by_column=ctx.by_column)
        back = weighted.addcmul_(weights, edges.at_edges(sums, by_column=ctx.by_column), value=-1)
        return None, back, None, None


class _AtEdges(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Edges, x: Tensor, by_column: bool) -> Tensor:
        ctx.edges, ctx.by_column = edges, by_column
        return edges.at_edges(x, by_column=by_column)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        return None, ctx.edges.sums(gradients[0], by_column=ctx.by_column), None


def _filled(csr: Tensor, values: Tensor) -> Tensor:
    """The same edges with other values."""
    return torch.sparse_csr_tensor(
        csr.crow_indices(), csr.col_indices(), values, size=csr.shape, check_invariants=False
    )
