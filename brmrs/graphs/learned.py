"""Graphs with fixed edges and learned weights: attention over interactions, learned item graphs.

Two operations, each the other's gradient; both touch nothing but the edges.

    product    y_i = sum_j a_ij x_j        dL/da_ij = <dL/dy_i, x_j>,  dL/dx = A^T dL/dy
    affinity   a_ij = <x_i, y_j>           dL/dx = A' y,  dL/dy = A'^T x,  with A' = dL/da
"""

from typing import Any

import torch
from torch import Tensor

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

    def weighted(self, values: Tensor) -> SparseMatrix:
        """The constant matrix of (E,) weights."""
        values = values.detach()
        pattern = self._pattern
        return SparseMatrix(
            _filled(pattern.csr, values), _filled(pattern.transposed, values[self._order])
        )

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
        matrix = edges.weighted(values)
        return multiply(matrix.transposed if transposed else matrix.csr, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor, None]:
        (upstream,), (values, x) = gradients, ctx.saved_tensors
        matrix = ctx.edges.weighted(values)
        back = multiply(matrix.csr if ctx.transposed else matrix.transposed, upstream)
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
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor]:
        x, y = ctx.saved_tensors
        matrix = ctx.edges.weighted(gradients[0])
        return None, multiply(matrix.csr, y), multiply(matrix.transposed, x)


def _filled(csr: Tensor, values: Tensor) -> Tensor:
    """The same edges with other values."""
    return torch.sparse_csr_tensor(
        csr.crow_indices(), csr.col_indices(), values, size=csr.shape, check_invariants=False
    )
