"""The sparse product against dense arithmetic."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from brmrs.graphs import bipartite, homogeneous
from brmrs.graphs.sparse import SparseMatrix, products_of_pairs


def random_sparse(rows: int, columns: int, seed: int, density: float = 0.3) -> sp.csr_matrix:
    values = sp.random_array((rows, columns), density=density, rng=np.random.default_rng(seed))
    return sp.csr_matrix(values)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 4), (4, 1), (40, 30)])
def test_product_and_gradient_equal_the_dense_ones(shape: tuple[int, int]) -> None:
    matrix = random_sparse(*shape, seed=1)
    sparse, dense = SparseMatrix.from_scipy(matrix), torch.tensor(matrix.toarray()).float()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape[1], 6, generator=generator, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    upstream = torch.randn(shape[0], 6, generator=generator)
    (sparse @ x).backward(upstream)  # type: ignore[no-untyped-call]
    (dense @ y).backward(upstream)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(sparse @ x, dense @ y)
    torch.testing.assert_close(x.grad, y.grad)


def test_double_precision_passes_gradcheck() -> None:
    sparse = SparseMatrix.from_scipy(random_sparse(5, 4, seed=2))
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sparse @ x, (x,), atol=1e-6)


def test_the_transpose_is_at_hand() -> None:
    sparse = SparseMatrix.from_scipy(random_sparse(5, 4, seed=3))
    assert torch.equal(sparse.transposed.to_dense(), sparse.csr.to_dense().T)


def test_rows_and_columns_without_entries_give_zeros() -> None:
    matrix = sp.csr_matrix(([2.0], ([1], [2])), shape=(3, 4))
    sparse = SparseMatrix.from_scipy(matrix)
    assert (sparse @ torch.ones(4, 2)).tolist() == [[0, 0], [2, 2], [0, 0]]


def test_from_edges_equals_from_scipy() -> None:
    matrix = random_sparse(6, 9, seed=5)
    matrix.sort_indices()
    rows, columns = matrix.nonzero()
    values = torch.tensor(matrix.data).float()
    edges = SparseMatrix.from_edges(torch.tensor(rows), torch.tensor(columns), values, (6, 9))
    whole = SparseMatrix.from_scipy(matrix)
    assert torch.equal(edges.csr.to_dense(), whole.csr.to_dense())
    assert torch.equal(edges.transposed.to_dense(), whole.transposed.to_dense())


def test_same_bits_on_every_run_and_thread_count() -> None:
    sparse = SparseMatrix.from_scipy(random_sparse(3000, 500, seed=6, density=0.02))
    x = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 1, 2):
            torch.set_num_threads(count)
            results.append(sparse @ x)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


def test_normalised_bipartite_graph_by_hand() -> None:
    # user 0: items 0, 1; user 1: item 1; user 2 and item 2: nothing
    users, items = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    graph = bipartite.normalised(users, items, 3, 3)
    expected = torch.tensor([[0.5**0.5, 0.5, 0], [0, 0.5**0.5, 0], [0, 0, 0]])
    torch.testing.assert_close(graph.csr.to_dense(), expected)


def test_row_normalised_rows_sum_to_one_or_stay_empty() -> None:
    weights = sp.csr_matrix(np.array([[0, 1.0, 3.0], [0, 0, 0], [2.0, 0, 0]]))
    result = homogeneous.row_normalised(weights).toarray()
    assert result.tolist() == [[0, 0.25, 0.75], [0, 0, 0], [1, 0, 0]]


def test_unsorted_matrix_is_read_right_and_left_alone() -> None:
    parts = np.array([2.0, 1.0, 3.0]), np.array([2, 0, 1]), np.array([0, 2, 3])
    matrix = sp.csr_matrix(tuple(part.copy() for part in parts), shape=(2, 3))
    sparse = SparseMatrix.from_scipy(matrix)
    assert sparse.csr.to_dense().tolist() == [[1, 0, 2], [0, 3, 0]]
    assert sparse.transposed.to_dense().tolist() == [[1, 0], [0, 3], [2, 0]]
    for kept, part in zip((matrix.data, matrix.indices, matrix.indptr), parts, strict=True):
        assert kept.tolist() == part.tolist()


def test_products_of_pairs_are_inner_products() -> None:
    """Columns may come in any order, and a vector may have no pair."""
    table, own = torch.randn(7, 5), torch.randn(3, 5)
    ends, columns = torch.tensor([0, 3, 3, 5]), torch.tensor([6, 0, 6, 2, 1])
    found = products_of_pairs(own, table, ends, columns)
    whole = own @ table.T
    torch.testing.assert_close(found, whole[torch.tensor([0, 0, 0, 2, 2]), columns])
