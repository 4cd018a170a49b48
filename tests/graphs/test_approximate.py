"""Approximate neighbours against the exact ones."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from brmrs.config.learning import GraphsConfig
from brmrs.errors import UserError
from brmrs.graphs import approximate, nearest
from brmrs.graphs.similarity import Edges, Modality, Similarity
from brmrs.graphs.stage import neighbours

NODES = 2000


@pytest.fixture(scope="module")
def similarity() -> Similarity:
    """Products in fifty kinds, with a few buyers in common; every tenth has no picture."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 50, NODES)
    modalities = {}
    for name, width in (("text", 16), ("visual", 24)):
        centres = rng.standard_normal((50, width))
        vectors = centres[kinds] + 0.7 * rng.standard_normal((NODES, width))
        present = np.ones(NODES, dtype=bool)
        present[::10] = name == "text"
        modalities[name] = Modality.of(vectors.astype(np.float32), present)
    sets = sp.csr_matrix((rng.random((NODES, 300)) < 0.01).astype(np.float64))
    return Similarity(sets, modalities, {"text": 0.5, "visual": 0.5}, 0.3, "cosine")


def pairs(found: Edges) -> set[tuple[int, int]]:
    return set(zip(found.rows.tolist(), found.columns.tolist(), strict=True))


def test_most_of_the_exact_neighbours_are_found_with_their_exact_weights(
    similarity: Similarity,
) -> None:
    found, recall = approximate.nearest(similarity, 10, "item graph")
    exact = nearest.nearest(similarity, 10, 2**30)
    share = len(pairs(found) & pairs(exact)) / len(exact.rows)
    assert share > 0.9
    assert recall == pytest.approx(share, abs=0.04)  # of 200 rows
    assert len(found.rows) == len(exact.rows)
    weights = dict(zip(zip(exact.rows, exact.columns, strict=True), exact.weights, strict=True))
    both = [
        (weights[row, column], weight)
        for row, column, weight in zip(found.rows, found.columns, found.weights, strict=True)
        if (row, column) in weights
    ]
    assert all(one == other for one, other in both)
    order = found.rows.astype(np.int64) * NODES + found.columns
    assert (np.diff(order) > 0).all()


def test_the_stage_names_the_recall(similarity: Similarity) -> None:
    config = GraphsConfig(neighbours="approximate")
    without_vectors = replace(similarity, alpha=1.0)
    graphs = {"item": similarity, "user": without_vectors}
    found, recalls = neighbours(graphs, 5, config)
    assert recalls.keys() == {"item"}
    assert 0.9 < recalls["item"] <= 1
    assert pairs(found["user"]) == pairs(nearest.nearest(without_vectors, 5, 2**30))


def test_a_missing_faiss_is_one_line(
    similarity: Similarity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"needs faiss; pip install 'brmrs\[serve\]'"):
        approximate.nearest(similarity, 10, "item graph")


def test_kNN_tables_are_not_searched() -> None:  # noqa: N802
    with pytest.raises(ValueError, match="neighbours would have no effect: modality is knn"):
        GraphsConfig(modality="knn", neighbours="approximate")
