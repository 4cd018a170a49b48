"""Sampled rows against the whole rows, and the draw against what a uniform draw must give."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from brmrs.graphs.sampled import Edges, NodeGraph, _distinct, numbered, sample_rows
from brmrs.graphs.sparse import SparseMatrix

MATRIX = sp.csr_matrix(sp.random(30, 20, density=0.4, random_state=0, dtype=np.float32))
GRAPH = SparseMatrix.from_scipy(MATRIX)
LARGEST = int(np.diff(MATRIX.indptr).max())
ROWS = torch.tensor([3, 4, 9, 28])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(edges: Edges, rows: int, columns: int) -> Tensor:
    found = torch.zeros(rows, columns)
    found[edges.rows, edges.columns] = edges.values
    return found


def test_enough_neighbours_give_the_whole_rows_to_the_last_bit() -> None:
    edges = sample_rows(GRAPH.csr, ROWS, LARGEST, generator())
    assert torch.equal(dense(edges, 4, 20), GRAPH.csr.to_dense()[ROWS])


def test_edges_are_in_order_and_none_is_twice() -> None:
    edges = sample_rows(GRAPH.csr, ROWS, 3, generator())
    keys = edges.rows * 20 + edges.columns
    assert bool((keys.diff() > 0).all())
    degrees = np.diff(MATRIX.indptr)[ROWS]
    assert torch.bincount(edges.rows, minlength=4).tolist() == np.minimum(degrees, 3).tolist()


def test_every_subset_is_equally_likely() -> None:
    draws = 20_000
    drawn = _distinct(torch.full((draws,), 5), 3, generator())
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(combinations(range(5), 3))
    deviation = math.sqrt(draws * 0.1 * 0.9)
    assert all(abs(count - draws / 10) < 4.5 * deviation for count in counts.values())


def test_the_mean_of_many_samples_is_the_row() -> None:
    repeats = 20_000
    edges = sample_rows(GRAPH.csr, torch.full((repeats,), 9), 3, generator())
    drawn = dense(edges, repeats, 20)
    error = drawn.mean(dim=0) - GRAPH.csr.to_dense()[9]
    bound = 4.5 * drawn.std(dim=0) / math.sqrt(repeats)
    assert bool((error.abs() <= bound + 1e-6).all())
    assert float(bound.max()) < 0.05 * float(GRAPH.csr.to_dense()[9].max())


def test_a_row_without_edges_has_no_sample() -> None:
    empty = SparseMatrix.from_scipy(np.zeros((3, 4), dtype=np.float32))
    assert len(sample_rows(empty.csr, torch.arange(3), 2, generator()).rows) == 0
    assert len(sample_rows(None, torch.arange(3), 2, generator()).rows) == 0


def test_the_cost_does_not_depend_on_the_degrees() -> None:
    """A row of a million entries: listing them would take a thousand times the numbers drawn."""
    assert _distinct(torch.tensor([10**6]), 4, generator()).shape == (1, 4)


@pytest.mark.parametrize("bipartite", [True, False])
def test_users_and_items_share_one_numbering(bipartite: bool) -> None:
    r = GRAPH.csr.to_dense()
    if bipartite:
        graph = NodeGraph.user_item(GRAPH)
        whole = torch.zeros(50, 50)
        whole[:30, 30:], whole[30:, :30] = r, r.T
    else:
        own = [SparseMatrix.from_scipy(sp.random(n, n, 0.2, random_state=1)) for n in (30, 20)]
        graph = NodeGraph(30, own[0].csr, own[1].csr, bipartite=False)
        whole = torch.zeros(50, 50)
        whole[:30, :30], whole[30:, 30:] = (each.csr.to_dense() for each in own)
    nodes = torch.tensor([0, 7, 29, 30, 44])
    edges = graph.sample(nodes, 100, generator())
    assert torch.equal(dense(edges, 5, 50), whole[nodes])


def test_numbering() -> None:
    nodes = torch.tensor([7, 2, 7, 0, 2])
    found = numbered(nodes)
    assert found.distinct.tolist() == [0, 2, 7]
    assert torch.equal(found.distinct[found.places], nodes)
    assert found.order.tolist() == [3, 1, 4, 0, 2]
