"""The bootstrap of a mean difference."""

import itertools

import numpy as np
import pytest

from brmrs.evaluation.paired import bootstrap, interval


def test_the_bootstrap_has_the_distribution_of_all_resamples() -> None:
    """Of four users all 256 resamples can be told."""
    differences = np.array([0.5, -0.25, 0.5, 0.0])
    exact = [np.mean(drawn) for drawn in itertools.product(differences, repeat=4)]
    values, counts = np.unique(exact, return_counts=True)
    found = bootstrap(differences, 40_000, seed=1)
    assert set(found) == set(values)
    shares = [np.mean(found == value) for value in values]
    # Five standard errors of a share of 40,000 draws.
    assert np.allclose(shares, counts / 256, atol=5 * np.sqrt(0.25 / 40_000), rtol=0)


def test_the_bootstrap_is_seeded() -> None:
    differences = np.random.default_rng(0).normal(size=50)
    first, again, other = (bootstrap(differences, 100, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_its_spread_is_the_standard_error() -> None:
    differences = np.random.default_rng(0).normal(0.3, 2.0, size=400)
    found = bootstrap(differences, 4_000, seed=0)
    assert found.mean() == pytest.approx(differences.mean(), abs=0.01)
    assert found.std() == pytest.approx(differences.std() / 20, rel=0.05)


def test_the_interval_holds_the_middle_of_the_means() -> None:
    differences = np.random.default_rng(0).normal(0.3, 2.0, size=400)
    low, high = interval(differences)
    assert low == pytest.approx(differences.mean() - 1.96 * differences.std() / 20, abs=0.02)
    assert high == pytest.approx(differences.mean() + 1.96 * differences.std() / 20, abs=0.02)
