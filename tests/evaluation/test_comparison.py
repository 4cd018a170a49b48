import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brmrs.evaluation.comparison import (
    BETTER,
    UNDECIDED,
    WORSE,
    benjamini_hochberg,
    compare,
    holm,
    rank_biserial,
)

p_values = arrays(float, st.integers(1, 12), elements=st.floats(0, 1))


def test_corrections_of_a_table_computed_by_hand() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    # Sorted: .005 * 4, .01 * 3, .03 * 2, then .04 * 1 raised to the one before.
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    # Sorted: .005 * 4/1, .01 * 4/2, .03 * 4/3, .04 * 4/4.
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, 0.04, 0.04, 0.02])


@given(p_values)
def test_corrections_only_raise_and_keep_the_order(p: np.ndarray) -> None:
    for corrected in (holm(p), benjamini_hochberg(p)):
        assert np.all(corrected >= p - 1e-15)
        assert np.all(corrected <= 1)
        assert np.all(np.diff(corrected[np.argsort(p, kind="stable")]) >= -1e-15)
    assert np.all(benjamini_hochberg(p) <= holm(p) + 1e-15)
    assert holm(p)[p.argmin()] == pytest.approx(min(1, len(p) * p.min()))


def test_effect_of_five_users() -> None:
    # Ranks of |d| without the zero: .1 -> 1, .2 -> 2.5 (twice), .3 -> 4.
    assert rank_biserial(np.array([0.1, 0.2, -0.2, 0.3, 0.0])) == pytest.approx(
        (1 - 2.5 + 2.5 + 4) / 10
    )
    assert rank_biserial(np.array([0.5, 0.1])) == 1
    assert rank_biserial(np.zeros(3)) == 0


def test_a_clear_gain_a_draw_and_rounding() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.1, 400)
    differences = {
        "gain": noise + 0.05,
        "draw": noise - noise.mean(),
        "same": np.full(400, 1e-17),
    }
    found = compare(differences)
    gain, draw, same = (found[name] for name in differences)
    assert gain.low < gain.difference < gain.high
    assert gain.low > 0
    assert gain.effect > 0.2
    assert gain.p_holm == pytest.approx(3 * gain.p)
    assert gain.p_holm < 1e-6
    assert draw.low < 0 < draw.high
    assert draw.p > 0.2
    assert (same.difference, same.low, same.high, same.changed, same.p) == (0, 0, 0, 0, 1)


def test_the_verdict_counts_the_number_of_comparisons() -> None:
    """An interval that excludes 0 is no finding among many; one rule decides in every table."""
    generator = np.random.default_rng(3)
    weak = generator.normal(0.0, 1, 200)
    weak += 0.16 - weak.mean()  # 2.3 standard errors
    many = {"weak": weak, **{f"none {n}": generator.normal(0, 1, 200) for n in range(20)}}
    found = compare(many)
    assert found["weak"].low > 0
    assert found["weak"].verdict == UNDECIDED
    assert compare({"weak": weak})["weak"].verdict == BETTER
    assert compare({"weak": -weak})["weak"].plain()["verdict"] == WORSE


def test_no_verdict_where_mean_and_ranks_disagree() -> None:
    """Most users lose a little, few gain much: the signed ranks and the mean have other signs."""
    found = compare({"mixed": np.array([-0.1] * 90 + [2.0] * 10)})["mixed"]
    assert found.difference > 0 > found.effect
    assert found.p_holm < 0.05
    assert found.verdict == UNDECIDED


def test_the_same_seed_gives_the_same_interval() -> None:
    values = {"a": np.random.default_rng(2).normal(size=50)}
    assert compare(values, seed=3) == compare(values, seed=3)
    assert compare(values, seed=3) != compare(values, seed=4)


def test_no_users() -> None:
    with pytest.raises(ValueError, match="no users"):
        compare({"a": np.empty(0)})
