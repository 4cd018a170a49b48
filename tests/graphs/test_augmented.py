"""Graphs of users and items with item-item edges, by hand."""

import math

import scipy.sparse as sp
import torch

from brmrs.graphs import augmented
from brmrs.graphs.sparse import SparseMatrix


def sparse(rows: list[list[float]]) -> SparseMatrix:
    return SparseMatrix.from_scipy(sp.csr_matrix(rows))


TEXT = sparse([[0, 0.9, 0], [0, 0, 0.8], [0, 0.8, 0]])
VISUAL = sparse([[0, 0.5, 0.4], [0.5, 0, 0], [0, 0, 0]])


def test_an_edge_of_either_end_counts_once() -> None:
    both_ways = augmented.undirected([(0.75, TEXT), (0.25, VISUAL)])
    expected = [[0, 1, 0.25], [1, 0, 0.75], [0.25, 0.75, 0]]
    assert both_ways.csr.to_dense().tolist() == expected


def test_common_edges() -> None:
    assert augmented.common([TEXT, VISUAL]).csr.to_dense().tolist() == [[0, 1, 0], [0] * 3, [0] * 3]
    assert augmented.common([TEXT]).csr.to_dense().tolist() == [[0, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_adjacency_is_normalised_by_its_own_row_sums() -> None:
    """User 0 has items 0 and 1, user 1 none; item 0 has an edge of weight 0.5 to item 1."""
    users, items = torch.tensor([0, 0]), torch.tensor([0, 1])
    graph = augmented.adjacency(users, items, (2, 2), sparse([[0, 0.5], [0, 0]]))
    u_0, u_1 = 1 / math.sqrt(2 * 1.5), 1 / math.sqrt(2)
    expected = [[0, 0, u_0, u_1], [0] * 4, [u_0, 0, 0, 0.5 / math.sqrt(1.5)], [u_1, 0, 0, 0]]
    torch.testing.assert_close(graph.csr.to_dense(), torch.tensor(expected))


def test_shift_and_scale() -> None:
    graph = augmented.shifted(sparse([[0, 0.5], [0.5, 0.25]]), 0.25, 0.5)
    assert graph.csr.to_dense().tolist() == [[-0.5, 1.0], [1.0, 0.0]]
