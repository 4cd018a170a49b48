import numpy as np
import pytest

from brmrs.config.features import Replacement
from brmrs.features.replaced import replaced, sources
from brmrs.graphs.similarity import Modality

ITEMS, DIMENSIONS = 40, 5
PRESENT = np.arange(ITEMS) % 4 != 0
VECTORS = np.random.default_rng(1).normal(size=(ITEMS, DIMENSIONS)).astype(np.float32)
VECTORS[~PRESENT] = 0


def test_nothing_is_replaced() -> None:
    vectors, present = replaced(VECTORS, PRESENT, "none", 0)
    assert vectors is VECTORS
    assert present is PRESENT


def test_permuted_vectors_are_those_of_other_items() -> None:
    vectors, present = replaced(VECTORS, PRESENT, "permuted", 0)
    assert np.array_equal(present, PRESENT)
    assert not vectors[~PRESENT].any()
    assert np.array_equal(np.sort(vectors, axis=0), np.sort(VECTORS, axis=0))
    moved = (vectors[PRESENT] != VECTORS[PRESENT]).any(axis=1)
    assert moved.mean() > 0.8


def test_noise_keeps_lengths_and_directions_are_new() -> None:
    vectors, present = replaced(VECTORS, PRESENT, "noise", 0)
    assert np.array_equal(present, PRESENT)
    lengths, own = (np.linalg.norm(x, axis=1) for x in (vectors, VECTORS))
    assert lengths == pytest.approx(own, rel=1e-5)
    cosines = (vectors * VECTORS).sum(axis=1)[PRESENT] / own[PRESENT] ** 2
    assert np.abs(cosines).mean() < 0.6


def test_nobody_has_a_removed_modality() -> None:
    vectors, present = replaced(VECTORS, PRESENT, "removed", 0)
    assert not vectors.any()
    assert not present.any()


@pytest.mark.parametrize("how", ["permuted", "noise"])
def test_the_seed_decides(how: Replacement) -> None:
    """Graphs and training replace separately, and must get the same vectors."""
    one, again, other = (replaced(VECTORS, PRESENT, how, seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_permuted_table_of_neighbours_is_that_of_permuted_vectors() -> None:
    """Item s of a kNN table stands for argsort(sources)[s]."""
    vectors, _ = replaced(VECTORS, PRESENT, "permuted", 0)
    stands_for = np.argsort(sources(PRESENT, 0))
    rows, columns = np.array([1, 2, 5, 7]), np.array([3, 9, 6, 11])
    table = Modality.of(VECTORS, PRESENT).pair_cosines(rows, columns)
    of_permuted = Modality.of(vectors, PRESENT)
    assert of_permuted.pair_cosines(stands_for[rows], stands_for[columns]) == pytest.approx(table)
