"""The similarity and its top-k against a literal transcription of the formula."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brmrs.graphs.nearest import nearest
from brmrs.graphs.similarity import (
    Edges,
    KnownCosines,
    Modality,
    Overlap,
    Similarity,
)

Vectors = NDArray[np.float32]
Mask = NDArray[np.bool_]


def literal(
    sets: list[set[int]],
    features: Mapping[str, tuple[Vectors, Mask]],
    beta: Mapping[str, float],
    alpha: float,
    overlap: str,
    i: int,
    j: int,
) -> float:
    """e_ij, as method/000 writes it."""
    a, b = sets[i], sets[j]
    value = 0.0
    if a & b:
        value = {
            "cosine": len(a & b) / math.sqrt(len(a) * len(b)),
            "jaccard": len(a & b) / len(a | b),
            "count": len(a & b) / max(len(s) for s in sets),
        }[overlap]
    shared = [m for m, (_, has) in features.items() if has[i] and has[j] and beta.get(m, 0) > 0]
    total = 0.0
    for m in shared:
        renormalised = beta[m] * sum(beta.values()) / sum(beta[n] for n in shared)
        x = [float(v) for v in features[m][0][i]]
        y = [float(v) for v in features[m][0][j]]
        norms = math.sqrt(sum(v * v for v in x)) * math.sqrt(sum(v * v for v in y))
        total += renormalised * (sum(v * w for v, w in zip(x, y, strict=True)) / norms)
    return alpha * value + (1 - alpha) * total


def build(
    sets: list[set[int]],
    features: Mapping[str, tuple[Vectors, Mask]],
    beta: Mapping[str, float],
    alpha: float,
    overlap: Overlap,
) -> Similarity:
    matrix = sp.csr_matrix(np.array([[float(u in s) for u in range(5)] for s in sets]))
    modalities = {m: Modality.of(x, has) for m, (x, has) in features.items()}
    return Similarity(matrix, modalities, beta, alpha, overlap)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Similarity, list[list[float]]]:
    size = draw(st.integers(2, 9))
    sets = draw(st.lists(st.sets(st.integers(0, 4)), min_size=size, max_size=size))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = {}
    for m, width in (("text", 3), ("visual", 4)):
        present = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        # a few distinct directions only, so that ties are common
        vectors = generator.integers(-1, 2, (size, width)).astype(np.float32)
        vectors[:, 0] = np.where(vectors.any(axis=1), vectors[:, 0], 1)
        features[m] = (vectors * present[:, None], present)
    beta = {"text": draw(st.sampled_from([0.0, 0.3, 0.9])), "visual": 0.5}
    alpha = draw(st.sampled_from([0.0, 0.25, 1.0]))
    overlap: Overlap = draw(st.sampled_from(["cosine", "jaccard", "count"]))
    expected = [
        [literal(sets, features, beta, alpha, overlap, i, j) for j in range(size)]
        for i in range(size)
    ]
    return build(sets, features, beta, alpha, overlap), expected


@settings(max_examples=200)
@given(case=cases())
def test_rows_equal_the_literal_formula(case: tuple[Similarity, list[list[float]]]) -> None:
    similarity, expected = case
    assert np.allclose(similarity.rows(slice(None)), expected, atol=1e-6)


@settings(max_examples=200)
@given(case=cases(), k=st.integers(1, 10))
def test_nearest_are_the_top_of_the_literal_formula(
    case: tuple[Similarity, list[list[float]]], k: int
) -> None:
    similarity, expected = case
    edges = nearest(similarity, k, block_bytes=1600)
    for i, row in enumerate(expected):
        found = edges.columns[edges.rows == i].tolist()
        # A weight that is 0 by the formula may come out a rounding above it, or not.
        mine = [j for j in found if row[j] > 1e-6]
        assert all(row[j] > -1e-6 for j in found)
        candidates = [j for j in range(len(row)) if j != i and row[j] > 1e-6]
        assert len(mine) == min(k, len(candidates))
        assert i not in found
        worst = min((row[j] for j in mine), default=math.inf)
        assert all(row[j] <= worst + 1e-6 for j in candidates if j not in mine)


@settings(max_examples=50)
@given(case=cases(), k=st.integers(1, 4))
def test_symmetric_and_independent_of_the_block(
    case: tuple[Similarity, list[list[float]]], k: int
) -> None:
    similarity, _ = case
    whole = similarity.rows(slice(None))
    assert np.array_equal(whole, whole.T)
    edges = [nearest(similarity, k, size) for size in (1, 500, 1000, 2**20)]
    for other in edges[1:]:
        assert np.array_equal(other.columns, edges[0].columns)
        assert np.array_equal(other.weights, edges[0].weights)


@settings(max_examples=100)
@given(case=cases(), k=st.integers(1, 10), block_bytes=st.integers(1, 4000))
def test_nearest_equals_a_stable_sort_of_the_rows(
    case: tuple[Similarity, list[list[float]]], k: int, block_bytes: int
) -> None:
    similarity, _ = case
    assert_sorted_alike(similarity, k, block_bytes)
    overlaps_alone = dataclasses.replace(similarity, modalities={})
    assert overlaps_alone.sparse
    assert_sorted_alike(overlaps_alone, k, block_bytes)


@settings(max_examples=50)
@given(case=cases(), k=st.integers(1, 4), seed=st.integers(0, 99))
def test_nearest_by_known_cosines(
    case: tuple[Similarity, list[list[float]]], k: int, seed: int
) -> None:
    size = case[0].neighbours.shape[0]
    generator = np.random.default_rng(seed)
    rows, columns = np.nonzero(generator.random((size, size)) < 0.4)
    weights = generator.choice([-0.5, 0.25, 0.5, 1.0], len(rows)).astype(np.float32)
    edges = Edges(rows.astype(np.int32), columns.astype(np.int32), weights)
    known = {name: KnownCosines.of(edges, size) for name in case[0].modalities}
    assert_sorted_alike(dataclasses.replace(case[0], modalities=known), k, 1600)


def assert_sorted_alike(similarity: Similarity, k: int, block_bytes: int) -> None:
    """The graph holds the k largest positive entries of each row, ties by the lower column."""
    scores = similarity.rows(slice(None))
    edges = nearest(similarity, k, block_bytes)
    expected = []
    for i, row in enumerate(scores):
        order = sorted((j for j in range(len(row)) if j != i), key=lambda j: (-row[j], j))
        expected += [(i, j, np.float32(row[j])) for j in sorted(order[:k]) if row[j] > 0]
    assert list(zip(edges.rows, edges.columns, edges.weights, strict=True)) == expected


def test_a_node_with_nothing_to_compare_has_no_neighbours() -> None:
    generator = np.random.default_rng(0)
    present = np.arange(40) % 2 == 0
    modality = Modality.of(generator.normal(size=(40, 8)).astype(np.float32), present)
    sets = sp.csr_matrix(np.zeros((40, 3)))
    half = Similarity(sets, {"text": modality}, {"text": 1.0}, 0.0, "cosine")
    assert not half.rows(np.flatnonzero(~present)).any()
    assert not set(nearest(half, 5, 1600).rows) & set(np.flatnonzero(~present))


def test_neighbours_that_float32_confuses_come_in_the_right_order() -> None:
    # Two hundred items within a millionth of one direction, their own noise below float32's.
    generator = np.random.default_rng(0)
    vectors = np.ones((200, 512)) + 1e-6 * generator.normal(size=(200, 512))
    everyone = np.ones(200, dtype=bool)
    modality = Modality.of(vectors.astype(np.float32), everyone)
    rough = modality.units @ modality.units.T
    assert (modality.cosines(slice(None)).argsort(axis=1) != rough.argsort(axis=1)).any()
    sets = sp.csr_matrix(np.zeros((200, 3)))
    alike = Similarity(sets, {"text": modality}, {"text": 1.0}, 0.0, "cosine")
    assert_sorted_alike(alike, 10, 2**20)


def test_cosines_are_the_same_bits_in_every_block() -> None:
    # wide enough for the BLAS to change its kernel, and its order of summation, with the block
    vectors = np.random.default_rng(0).normal(size=(300, 777)).astype(np.float32)
    modality = Modality.of(vectors, np.ones(300, dtype=bool))
    whole = modality.cosines(slice(None))
    for size in (1, 2, 7, 64, 299):
        parts = [modality.cosines(slice(s, s + size)) for s in range(0, 300, size)]
        assert np.array_equal(np.concatenate(parts), whole)
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert np.abs(whole - exact @ exact.T).max() < 2e-7
    rows, columns = (ends.astype(np.int32) for ends in np.nonzero(whole > 0))
    assert np.array_equal(modality.pair_cosines(rows, columns), whole[rows, columns])


def test_missing_modality_by_hand() -> None:
    text = np.array([[1, 0], [1, 0], [0, 0]], dtype=np.float32)
    visual = np.array([[3, 0], [4, 3], [1, 0]], dtype=np.float32)
    features = {
        "text": (text, np.array([True, True, False])),
        "visual": (visual, np.array([True, True, True])),
    }
    similarity = build([set(), set(), set()], features, {"text": 0.6, "visual": 0.2}, 0.5, "cosine")
    rows = similarity.rows(slice(None))
    assert rows[0, 1] == pytest.approx(0.5 * (0.6 * 1 + 0.2 * 0.8))
    assert rows[0, 2] == pytest.approx(0.5 * 0.8 * 1)  # 0.2 renormalised to 0.6 + 0.2
    assert rows[1, 2] == pytest.approx(0.5 * 0.8 * 0.8)


def test_modality_that_nobody_has_leaves_its_weight_to_the_other() -> None:
    text = np.array([[1, 0], [3, 4]], dtype=np.float32)
    nothing = np.zeros((2, 4), dtype=np.float32)
    features = {
        "text": (text, np.array([True, True])),
        "visual": (nothing, np.array([False, False])),
    }
    similarity = build([set(), set()], features, {"text": 0.5, "visual": 0.5}, 0.0, "cosine")
    assert similarity.rows(slice(None))[0, 1] == pytest.approx(0.6)


def test_vector_of_length_zero_counts_as_absent() -> None:
    modality = Modality.of(np.zeros((2, 3), dtype=np.float32), np.array([True, False]))
    assert modality.present.tolist() == [False, False]
    assert not modality.units.any()


def test_known_cosines_hold_both_ways_and_others_are_zero() -> None:
    edges = Edges(
        np.array([0, 2, 2], dtype=np.int32),
        np.array([1, 0, 1], dtype=np.int32),
        np.array([0.5, 0.25, -0.5], dtype=np.float32),
    )
    known = KnownCosines.of(edges, 4)
    expected = [[0, 0.5, 0.25, 0], [0.5, 0, -0.5, 0], [0.25, -0.5, 0, 0], [0, 0, 0, 0]]
    assert known.cosines(slice(0, 4)).tolist() == expected
    assert known.cosines(slice(1, 2)).tolist() == expected[1:2]
    assert known.present.tolist() == [True, True, True, False]
    pairs = np.array([0, 1, 3], dtype=np.int32), np.array([2, 2, 0], dtype=np.int32)
    assert known.pair_cosines(*pairs).tolist() == [0.25, -0.5, 0]


def test_a_full_table_of_cosines_gives_the_graph_of_the_features() -> None:
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(9, 4)).astype(np.float32)
    everyone = np.ones(9, dtype=bool)
    modality = Modality.of(vectors, everyone)
    rows, ends = np.nonzero(~np.eye(9, dtype=bool))
    cosines = modality.pair_cosines(rows.astype(np.int32), ends.astype(np.int32))
    edges = Edges(rows.astype(np.int32), ends.astype(np.int32), cosines.astype(np.float32))
    neighbours = sp.csr_matrix((generator.random((9, 6)) < 0.5).astype(np.float64))
    graphs = [
        nearest(Similarity(neighbours, {"text": cosine}, {"text": 1.0}, 0.5, "cosine"), 3, 4)
        for cosine in (modality, KnownCosines.of(edges, 9))
    ]
    assert np.array_equal(graphs[0].rows, graphs[1].rows)
    assert np.array_equal(graphs[0].columns, graphs[1].columns)
    assert graphs[0].weights == pytest.approx(graphs[1].weights, abs=1e-6)
