"""The search by candidates against exact arithmetic over all pairs: the same bytes."""

import logging

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brmrs.graphs import candidates, first_pass, leading, nearest
from brmrs.graphs.first_pass import FirstPass
from brmrs.graphs.similarity import Edges, Modality, Overlap, Similarity
from brmrs.system import progress


@pytest.fixture(params=["float32", "bfloat16"])
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The first pass in either precision, whatever is faster here."""
    monkeypatch.setattr(first_pass, "HALF_FROM", 0)
    monkeypatch.setattr(first_pass, "half_is_faster", lambda: request.param == "bfloat16")
    return str(request.param)


def exact(similarity: Similarity, k: int) -> Edges:
    """The edges from whole rows of exact similarities."""
    rows = np.arange(similarity.neighbours.shape[0])
    return nearest.edges([nearest.by_rows(similarity, k, rows)])


def assert_same(found: Edges, expected: Edges) -> None:
    for one, other in zip(vars(found).values(), vars(expected).values(), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def modality(vectors: NDArray[np.float32], present: NDArray[np.bool_]) -> Modality:
    return Modality.of(vectors * present[:, None], present)


def noise(seed: int, nodes: int, width: int, *, equal: bool = False) -> NDArray[np.float32]:
    """Random vectors; `equal`: many rows are equal and many cosines tie."""
    generator = np.random.default_rng(seed)
    if not equal:
        return generator.standard_normal((nodes, width)).astype(np.float32)
    some = generator.integers(-1, 2, (max(2, nodes // 4), width)).astype(np.float32)
    some[:, 0] += ~some.any(axis=1)
    return some[generator.integers(0, len(some), nodes)]


def random_sets(
    nodes: int, others: int, share: float, generator: np.random.Generator
) -> sp.csr_matrix:
    return sp.csr_matrix((generator.random((nodes, others)) < share).astype(np.float64))


@st.composite
def similarities(draw: st.DrawFn) -> Similarity:
    nodes = draw(st.sampled_from([2, 3, 9, 40, 150]))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    sets = random_sets(nodes, 12, draw(st.sampled_from([0.0, 0.1, 0.5])), generator)
    modalities = {}
    for place, (name, width) in enumerate({"text": 3, "visual": 33}.items()):
        vectors = noise(seed + place, nodes, width, equal=draw(st.booleans()))
        if draw(st.booleans()):  # the largest cosines are negative, or 0
            vectors *= np.where(np.arange(nodes) % nodes < 2, -1, 1)[:, None] * np.abs(vectors) > 0
        present = generator.random(nodes) < draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
        modalities[name] = modality(vectors, present)
    beta = {"text": draw(st.sampled_from([0.0, 0.2, 0.5, 2.0])), "visual": 0.5}
    if draw(st.booleans()):
        del modalities["text"]
    alpha = draw(st.sampled_from([0.0, 0.3, 0.5, 0.97]))
    overlap: Overlap = draw(st.sampled_from(["cosine", "jaccard", "count"]))
    return Similarity(sets, modalities, beta, alpha, overlap)


@settings(max_examples=40)
@given(
    similarity=similarities(),
    k=st.sampled_from([1, 2, 5, 10, 60, 500]),
    block=st.sampled_from([2**13, 2**15, 2**30]),
    most=st.sampled_from([0, 4, 128]),
    at_once=st.sampled_from([1, 1000, 2**21]),
    half=st.booleans(),
    few=st.booleans(),
    share=st.sampled_from([1, 3, 32]),
)
def test_the_edges_are_those_of_all_exact_pairs(
    similarity: Similarity,
    k: int,
    block: int,
    most: int,
    at_once: int,
    half: bool,
    few: bool,
    share: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_pass, "HALF_FROM", 0)
        patch.setattr(first_pass, "half_is_faster", lambda: half)
        patch.setattr(candidates, "MOST", most)
        patch.setattr(candidates, "SHARE", share)
        patch.setattr(candidates, "AT_ONCE", at_once)
        if few:  # the first pass in few directions
            patch.setattr(leading, "WORTH", 0)
            patch.setattr(leading, "EXACT", 0)
            patch.setattr(leading, "LEAST", 0)
            patch.setattr(leading, "WIDTHS", (27, 31))
        assert candidates.usable(similarity)
        found = nearest.nearest(similarity, k, block)
    assert_same(found, exact(similarity, k))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_edges_do_not_depend_on_the_threads(threads: int) -> None:
    similarity = Similarity(
        sp.csr_matrix((500, 3)),
        {"visual": modality(noise(5, 500, 70, equal=True), np.ones(500, dtype=bool))},
        {"visual": 1.0},
        0.0,
        "cosine",
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = nearest.nearest(similarity, 7, 2**20)
    finally:
        torch.set_num_threads(before)
    assert_same(found, exact(similarity, 7))


def test_rows_that_equal_too_many_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    vectors = np.ones((400, 8), dtype=np.float32)
    vectors[:20] = noise(1, 20, 8)
    parts = {"text": modality(vectors, np.arange(400) != 399)}
    similarity = Similarity(sp.csr_matrix((400, 1)), parts, {"text": 1.0}, 0.0, "cosine")
    with caplog.at_level(logging.INFO, nearest.LOG.name):
        found = nearest.nearest(similarity, 4, 2**30, "item")
    assert_same(found, exact(similarity, 4))
    (line,) = [record.getMessage() for record in caplog.records]
    # All equal rows, and those noise rows that are near them; the row without text needs none.
    assert line.startswith("item: 3")
    assert line.endswith("of 400 rows needed the exact similarity of all pairs")


def of_vectors(vectors: NDArray[np.float32]) -> Similarity:
    nodes = len(vectors)
    parts = {"text": modality(vectors, np.ones(nodes, dtype=bool))}
    return Similarity(sp.csr_matrix((nodes, 1)), parts, {"text": 1.0}, 0.0, "cosine")


@pytest.mark.usefixtures("precision")
@given(
    seed=st.integers(0, 1000),
    width=st.sampled_from([1, 7, 300, 4096]),
    sparse=st.booleans(),
    floor=st.sampled_from([0.0, 0.2, 0.999]),
)
@example(seed=1, width=4096, sparse=False, floor=0.0)
@settings(max_examples=25)
def test_the_products_of_the_first_pass_are_upper_bounds(
    seed: int, width: int, sparse: bool, floor: float
) -> None:
    vectors = np.maximum(noise(seed, 60, width) - sparse, 0 if sparse else -np.inf)
    of = of_vectors(vectors.astype(np.float32))
    found = FirstPass(of, {})
    true = of.rows(slice(3, 60))
    floors = np.full(57, floor)
    offsets = found.offsets(3, floors)
    assert (offsets.double().numpy() <= floor).all()
    products = found.products(3, offsets, found.room(57))[:, torch.from_numpy(found.lanes.columns)]
    true -= offsets.double().numpy()[:, found.lanes.patterns]
    bounds = (products.abs() * found.rounding + products).double().numpy()
    assert (bounds >= true).all()
    assert (bounds - true).max() < 0.03
    above = true > 0
    bits = found.bits(np.where(above, true, 0.0))
    reaches = (products.view(found.kind) >= bits).numpy()
    assert reaches[above].all()
    # The bits tell nearly all of the others apart.
    assert not (products.view(found.kind) >= found.bits(np.maximum(true, 0) + 0.03)).any()


@pytest.mark.usefixtures("precision")
def test_the_first_pass_of_nodes_without_a_common_modality_is_0() -> None:
    present = np.arange(300) % 4
    parts = {
        "text": modality(noise(0, 300, 9), present % 2 > 0),
        "visual": modality(noise(1, 300, 30), present // 2 > 0),
    }
    of = Similarity(sp.csr_matrix((300, 1)), parts, {"text": 0.5, "visual": 0.5}, 0.0, "cosine")
    found = FirstPass(of, {})
    offsets = found.offsets(0, np.full(300, 0.1))
    products = found.products(0, offsets, found.room(300))[:, torch.from_numpy(found.lanes.columns)]
    apart = torch.from_numpy(np.bitwise_and.outer(present, present) == 0)
    assert (products[apart] == 0).all()
    assert (products[~apart] != 0).all()
    assert len(found.lanes.nodes) == 4 * 128  # whole lanes of each pattern
    assert sorted(found.lanes.nodes[found.lanes.columns]) == list(range(300))


def test_a_product_that_breaks_the_bound_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_pass, "HALF_FROM", 0)
    monkeypatch.setattr(first_pass, "half_is_faster", lambda: True)
    monkeypatch.setattr(first_pass, "_within", lambda *_: False)
    found = FirstPass(of_vectors(noise(0, 20, 40)), {})
    assert found.kind == torch.int32
    assert found.room(2).dtype == torch.float32


def test_progress_counts_every_row_once() -> None:
    seen = []
    similarity = of_vectors(noise(0, 50, 4))
    with progress.watched(lambda task: seen.append(task.done)):
        nearest.nearest(similarity, 2, 8 * 50 * candidates.BYTES_PER_PAIR * torch.get_num_threads())
    assert seen == [8, 16, 24, 32, 40, 48, 50, 50]
