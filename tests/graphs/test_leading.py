"""The first pass in leading directions: bounds, and when it is chosen."""

import logging

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from brmrs.graphs import first_pass, leading, nearest
from brmrs.graphs.similarity import Modality, Similarity

NODES, WIDTH, K = 600, 64, 5


def decaying(seed: int, power: float) -> Modality:
    """Vectors whose k-th direction has the variance k^-power."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, WIDTH + 1) ** (-power / 2)
    vectors = rng.standard_normal((NODES, WIDTH)) * scale
    turned = vectors @ np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    present = np.arange(NODES) % 7 > 0
    return Modality.of((turned * present[:, None]).astype(np.float32), present)


def similarity(power: float) -> Similarity:
    parts = {"text": decaying(0, power), "visual": decaying(1, power)}
    return Similarity(sp.csr_matrix((NODES, 4)), parts, {"text": 0.5, "visual": 0.5}, 0.0, "cosine")


def random_directions(size: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    return np.linalg.qr(rng.standard_normal((WIDTH, size)))[0]


@pytest.mark.parametrize("size", [1, 8, 63])
def test_the_products_are_upper_bounds_whatever_the_directions(size: int) -> None:
    units = decaying(0, 1.0).units.astype(np.float64)
    bounds = leading.upper(units.astype(np.float32), random_directions(size)).astype(np.float64)
    slack = 4 * first_pass.ROUND_FLOAT
    assert (bounds @ bounds.T - units @ units.T).min() >= -slack
    lengths = np.linalg.norm(bounds, axis=1)
    assert np.abs(lengths - np.linalg.norm(units, axis=1)).max() < 1e-5


def test_a_vector_of_zeros_has_products_of_0() -> None:
    assert not leading.upper(np.zeros((3, WIDTH), np.float32), random_directions(5)).any()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few vectors are worth a trial, too."""
    monkeypatch.setattr(leading, "WORTH", 0)
    monkeypatch.setattr(leading, "LEAST", 0)
    monkeypatch.setattr(leading, "TURNED", 0)
    monkeypatch.setattr(leading, "EXACT", 8)
    monkeypatch.setattr(leading, "WIDTHS", (40, 56))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("power", "expected"), [(4.0, 18), (0.0, 2 * WIDTH)])
def test_the_number_of_directions_follows_the_vectors(
    power: float, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Vectors with leading directions need few; random ones all."""
    of = similarity(power)
    with caplog.at_level(logging.INFO, leading.LOG.name):
        found = nearest.nearest(of, K, 2**20)
    assert f"first pass with {expected} of {2 * WIDTH} numbers" in caplog.text
    exact = nearest.edges([nearest.by_rows(of, K, np.arange(NODES))])
    for one, other in zip(vars(found).values(), vars(exact).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("small")
def test_the_trial_counts_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all nodes as its columns and no gap, they are the k nearest and what ties with them."""
    monkeypatch.setattr(leading, "ROUNDED", 1e-7)
    of = similarity(1.0)
    trial = leading.Trial.of(of, K)
    directions = {name: random_directions(WIDTH) for name in of.weighted}  # all: no gap
    counted = trial.candidates(directions)
    # A node without vectors has e = 0 with all others.
    present = float(of.modalities["text"].present[trial.rows].mean())
    assert counted == pytest.approx(K * present + (NODES - 1) * (1 - present), rel=1e-6)


def test_few_pairs_need_no_trial() -> None:
    assert leading.chosen(similarity(4.0), K, "item graph") == {}


@pytest.mark.usefixtures("small")
def test_the_numbers_go_to_the_directions_with_the_largest_variances() -> None:
    parts = {"text": decaying(0, 4.0), "visual": decaying(1, 1.0)}
    of = Similarity(sp.csr_matrix((NODES, 4)), parts, {"text": 0.5, "visual": 0.5}, 0.0, "cosine")
    fitted = {name: leading._fitted(part.units) for name, part in parts.items()}
    found = leading._first(fitted, of, 56)
    text, visual = (found[name].shape[1] for name in parts)
    assert text + visual == 56 - leading.OTHERS * len(parts)
    assert text < 8 < visual
