"""The sparse product of all graph models, and products of single pairs."""

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


class SparseMatrix:
    """A constant (n, m) matrix in CSR, stored with its transpose for the backward pass.

    Attributes:
        shape: (n, m).
        csr: the matrix as a torch CSR tensor.
        transposed: its transpose as a torch CSR tensor.
    """

    def __init__(self, csr: Tensor, transposed: Tensor):
        self.csr = csr
        self.transposed = transposed
        self.shape = (csr.shape[0], csr.shape[1])

    @classmethod
    def from_scipy(cls, matrix: Any) -> "SparseMatrix":
        """Take any scipy sparse matrix; values become float32, indices int32."""
        return cls(_to_torch(matrix), _to_torch(matrix.T))

    @classmethod
    def from_edges(
        cls,
        rows: Tensor,
        columns: Tensor,
        values: Tensor,
        shape: tuple[int, int],
        order: Tensor | None = None,
    ) -> "SparseMatrix":
        """Take (nnz,) edges sorted by (row, column), no pair twice; stays on their device.

        Args:
            rows: int64.
            columns: int64.
            values: float32.
            shape: (n, m).
            order: (nnz,) that sorts the edges by (column, row), where it is known.
        """
        order = torch.argsort(columns, stable=True) if order is None else order
        return cls(
            _csr(rows, columns, values, shape),
            _csr(columns[order], rows[order], values[order], (shape[1], shape[0])),
        )

    def to(self, device: torch.device | str) -> "SparseMatrix":
        """The same matrix on another device."""
        return SparseMatrix(self.csr.to(device), self.transposed.to(device))

    def __matmul__(self, x: Tensor) -> Tensor:
        """(n, m) @ (m, d) -> (n, d), differentiable only in `x`."""
        product: Tensor = _Product.apply(self, wide(x))
        return product


def wide(x: Tensor) -> Tensor:
    """bfloat16 as float32, for sums over many neighbours; other types unchanged."""
    return x.float() if x.dtype == torch.bfloat16 else x


def stored(x: Tensor) -> Tensor:
    """The numbers that a tensor stores: all of a dense one, the nonzero rows of a sparse one."""
    return x.coalesce().values() if x.is_sparse else x


def multiply(csr: Tensor, x: Tensor, plus: Tensor | None = None) -> Tensor:
    """`plus` + (n, m) CSR times (m, d), without a gradient; the same bits with any thread count.

    On a CPU this is `embedding_bag`, which sums weighted rows and prefetches them: as fast as MKL's
    CSR product, available without MKL, and it takes half precision.

    Args:
        csr: (n, m).
        x: (m, d).
        plus: (n, d); None: 0.
    """
    x = x.detach()  # else embedding_bag prepares a backward pass
    if x.is_cuda:
        with torch.autocast("cuda", enabled=False):
            return csr @ x if plus is None else torch.addmm(plus, csr, x)
    product = embedding_bag(
        csr.col_indices(),
        x.contiguous(),
        csr.crow_indices(),
        mode="sum",
        per_sample_weights=csr.values().to(x.dtype),
        include_last_offset=True,
    )
    return product if plus is None else product.add_(plus)


class _Product(torch.autograd.Function):
    """A @ X; the gradient of X is A^T @ G, and none is computed for the constant A."""

    @staticmethod
    def forward(ctx: Any, matrix: SparseMatrix, x: Tensor) -> Tensor:
        ctx.matrix = matrix
        return multiply(matrix.csr, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, multiply(ctx.matrix.transposed, gradients[0])


def products_of_pairs(own: Tensor, table: Tensor, ends: Tensor, columns: Tensor) -> Tensor:
    """(E,) inner products of single pairs of rows, without a copy of the table's rows.

    Args:
        own: (r, d) vectors.
        table: (n, d).
        ends: (r + 1,) the pairs of vector i are at ends[i] to ends[i + 1].
        columns: (E,) row of the table of each pair, in any order.
    """
    pattern = torch.sparse_csr_tensor(
        *(ends.long(), columns.long(), own.new_zeros(len(columns))),
        size=(len(own), len(table)),
        check_invariants=False,  # it would want sorted columns, which this product does not need
    )
    found: Tensor = torch.sparse.sampled_addmm(pattern, own, table.T, beta=0.0).values()
    return found


def _csr(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    starts = torch.zeros(shape[0] + 1, dtype=torch.int32, device=rows.device)
    starts[1:] = torch.bincount(rows, minlength=shape[0]).cumsum(0)
    return _checked_csr(starts, columns.to(torch.int32), values, shape)


def _to_torch(matrix: Any) -> Tensor:
    # A copy, because sorting in place would reorder the caller's indices but not its values.
    csr = sp.csr_matrix(matrix, dtype=np.float32, copy=True)
    csr.sort_indices()
    return _checked_csr(
        torch.from_numpy(csr.indptr.astype(np.int32)),
        torch.from_numpy(csr.indices.astype(np.int32)),
        torch.from_numpy(csr.data),
        csr.shape,
    )


def _checked_csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(starts, columns, values, size=shape, check_invariants=True)
