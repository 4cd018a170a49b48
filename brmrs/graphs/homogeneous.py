"""Homogeneous graphs: read the edges that the graph stage wrote as sparse matrices."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp

from brmrs.columns import COLUMN, ROW, WEIGHT
from brmrs.graphs.sparse import SparseMatrix


def load(path: Path, size: int) -> SparseMatrix:
    """Read `item.parquet` or `user.parquet` as the row-normalised (size, size) matrix.

    Each row with edges sums to 1, so a propagation is a weighted mean of the neighbours for any
    alpha, beta and k. A row without edges stays empty.
    """
    return SparseMatrix.from_scipy(row_normalised(read(path, size)))


def read(path: Path, size: int) -> sp.csr_matrix:
    """Read a graph that the graph stage wrote as the (size, size) matrix of its weights."""
    edges = pq.read_table(path)
    ends = (edges[ROW].to_numpy(), edges[COLUMN].to_numpy())
    return sp.csr_matrix((edges[WEIGHT].to_numpy(), ends), shape=(size, size))


def row_normalised(weights: sp.csr_matrix) -> sp.csr_matrix:
    """D^-1 W for non-negative weights, computed in float64 so that rows sum to 1 in float32."""
    sums = np.asarray(weights.sum(axis=1, dtype=np.float64)).ravel()
    inverse = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    return sp.csr_matrix(sp.diags_array(inverse) @ weights)
