"""Graphs of one modality, by hand."""

import pytest
import torch
from torch import Tensor

from brmrs.graphs import modality
from brmrs.graphs.sparse import SparseMatrix


def sparse(rows: list[list[float]]) -> SparseMatrix:
    dense = torch.tensor(rows)
    ends = dense.nonzero()
    shape = (dense.shape[0], dense.shape[1])
    return SparseMatrix.from_edges(ends[:, 0], ends[:, 1], dense[dense != 0], shape)


def dense(graph: SparseMatrix) -> Tensor:
    assert torch.equal(graph.csr.to_dense().T, graph.transposed.to_dense())
    return graph.csr.to_dense()


GRAPH = sparse([[0.0, 0.5, 0.25], [0.75, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_self_loops_go_where_there_are_edges() -> None:
    expected = [[1, 0.5, 0.25], [0.75, 1, 0], [0, 0, 0]]
    assert dense(modality.with_self_loops(GRAPH)).tolist() == expected


def test_self_loops_of_given_nodes() -> None:
    expected = [[0, 0.5, 0.25], [0.75, 1, 0], [0, 0, 1]]
    assert dense(modality.with_self_loops(GRAPH, torch.tensor([1, 2]))).tolist() == expected


def test_maximum_keeps_the_larger_weight_of_an_edge() -> None:
    other = sparse([[0.125, 0.75, 0.0], [0.5, 0.0, 0.0], [0.0, 0.25, 0.0]])
    expected = [[0.125, 0.75, 0.25], [0.75, 0, 0], [0, 0.25, 0]]
    assert dense(modality.maximum([GRAPH, other])).tolist() == expected


def test_unweighted() -> None:
    assert dense(modality.unweighted(GRAPH)).tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]


def test_symmetric_normalisation_by_row_sums() -> None:
    """0.5 / sqrt(0.75 * 0.75), and nothing reaches item 2, which has no edges."""
    normalised = dense(modality.symmetric(GRAPH))
    torch.testing.assert_close(normalised, torch.tensor([[0, 2 / 3, 0], [1, 0, 0], [0, 0, 0]]))


def test_a_mixture_adds_up_what_both_have() -> None:
    other = sparse([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    mixed = dense(modality.mixture([(0.5, GRAPH), (2.0, other)]))
    assert mixed.tolist() == [[0, 2.25, 0.125], [0.375, 0, 0], [4, 0, 0]]


def test_edges_come_sorted() -> None:
    rows, columns, values = modality.edges(GRAPH)
    assert (rows.tolist(), columns.tolist()) == ([0, 0, 1], [1, 2, 0])
    assert values.tolist() == pytest.approx([0.5, 0.25, 0.75])
