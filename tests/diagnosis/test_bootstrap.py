import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brmrs.diagnosis.bootstrap import RESAMPLES, Estimate, estimates, per_user, resampled


def test_a_mean_has_the_interval_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(3, 2, (400, 1))
    (found,) = estimates(resampled(values, np.ones((400, 1)), seed=1))
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.04)
    assert found.high == pytest.approx(values.mean() + half, abs=0.04)


def test_quantities_of_one_call_share_their_resamples() -> None:
    parts = np.random.default_rng(0).random((50, 1))
    samples = resampled(np.hstack([parts, 2 * parts]), np.ones((50, 2)), seed=1)
    assert samples.shape == (1 + RESAMPLES, 2)
    assert samples[:, 1] == pytest.approx(2 * samples[:, 0])


def test_a_ratio_of_nothing_is_none() -> None:
    nothing = Estimate(None, None, None)
    assert estimates(resampled(np.zeros((3, 1)), np.zeros((3, 1)), 0)) == [nothing]
    assert estimates(resampled(np.zeros((0, 1)), np.zeros((0, 1)), 0)) == [nothing]


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-5, 5)), min_size=1, max_size=30))
def test_sums_per_user(pairs: list[tuple[int, float]]) -> None:
    users = np.array([user for user, _ in pairs])
    values = np.array([[value, 1] for _, value in pairs])
    found = per_user(users, values)
    for user in range(users.max() + 1):
        assert found[user] == pytest.approx(values[users == user].sum(axis=0))
