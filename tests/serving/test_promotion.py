"""Two models on common ground, and the bootstrap between them."""

import itertools

import numpy as np
import pytest
import torch

from brmrs.config.learning import RetrainConfig
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.models.bundle import Bundle, Description
from brmrs.serving.promotion import Paired, bootstrap, compare, measure_both

pytestmark = pytest.mark.usefixtures("one_thread")


def bundle(scores: dict[str, dict[str, float]], seen: set[tuple[str, str]]) -> Bundle:
    """A model of which every score is given: p_u is the row of scores, q_i a unit vector."""
    users, items = tuple(sorted(scores)), tuple(sorted(next(iter(scores.values()))))
    p = torch.tensor([[scores[user][item] for item in items] for user in users])
    pairs = sorted((users.index(user), items.index(item)) for user, item in seen)
    about = Description(
        model={"name": "given"},
        train={},
        best_epoch=0,
        validation={},
        features={},
        users=users,
        items=items,
    )
    return Bundle(
        about, {"fused": Branch(p, torch.eye(len(items)))}, sets(pairs, len(users), len(items)), {}
    )


def sets(pairs: list[tuple[int, int]], users: int, items: int) -> UserItems:
    ids = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return UserItems.from_pairs(ids[:, 0], ids[:, 1], users, items)


def validation(model: Bundle, pairs: set[tuple[str, str]]) -> UserItems:
    indices = [(model.user_index[user], model.item_index[item]) for user, item in sorted(pairs)]
    return sets(indices, len(model.about.users), len(model.about.items))


CURRENT = bundle(
    {
        "ann": {"a": 4.0, "b": 3.0, "c": 2.0, "old": 9.0},
        "bob": {"a": 1.0, "b": 2.0, "c": 3.0, "old": 9.0},
        "gone": {"a": 1.0, "b": 2.0, "c": 3.0, "old": 9.0},
    },
    seen={("ann", "a"), ("bob", "old")},
)
CANDIDATE = bundle(
    {
        "ann": {"a": 1.0, "b": 1.0, "c": 2.0, "new": 9.0},
        "bob": {"a": 3.0, "b": 2.0, "c": 1.0, "new": 9.0},
        "zoe": {"a": 1.0, "b": 1.0, "c": 2.0, "new": 9.0},
    },
    seen={("ann", "new"), ("bob", "b")},
)


def measured(pairs: set[tuple[str, str]]) -> Paired:
    return measure_both(CURRENT, CANDIDATE, validation(CANDIDATE, pairs), "recall@1")


def test_both_rank_the_items_that_both_know_without_what_either_trained_on() -> None:
    # ann: a is masked, so the current model ranks b before c, the candidate c before b.
    found = measured({("ann", "b")})
    assert (found.current.tolist(), found.candidate.tolist()) == ([1.0], [0.0])
    # bob: b is masked; the current model ranks c before a, the candidate a before c.
    found = measured({("ann", "b"), ("bob", "a")})
    assert (found.current.tolist(), found.candidate.tolist()) == ([1.0, 0.0], [0.0, 1.0])
    assert found.users_left_out == 0


@pytest.mark.parametrize(
    "pair",
    [("ann", "new"), ("ann", "a"), ("zoe", "a"), ("bob", "new")],
    ids=["item unknown to one", "trained on by one", "user unknown to one", "both reasons"],
)
def test_what_is_not_on_common_ground_is_left_out_and_counted(pair: tuple[str, str]) -> None:
    found = measured({pair, ("bob", "c")})
    assert (found.current.tolist(), found.candidate.tolist()) == ([1.0], [0.0])
    assert found.users_left_out == (pair[0] != "bob")


def test_nothing_in_common_leaves_nobody() -> None:
    stranger = bundle({"x": {"y": 1.0}}, seen=set())
    found = measure_both(CURRENT, stranger, validation(stranger, {("x", "y")}), "ndcg@5")
    assert (len(found.current), len(found.candidate), found.users_left_out) == (0, 0, 1)


def test_a_model_equals_itself() -> None:
    found = measure_both(CURRENT, CURRENT, validation(CURRENT, {("ann", "b")}), "ndcg@2")
    assert found.current.tolist() == found.candidate.tolist()


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


@pytest.mark.parametrize(
    ("difference", "margin", "worse"),
    [(-0.2, 0.0, True), (-0.2, 0.1, True), (-0.2, 0.2, False), (-0.2, 0.3, False), (0.1, 0, False)],
)
def test_the_margin_decides_where_the_difference_is_certain(
    difference: float, margin: float, worse: bool
) -> None:
    current = np.linspace(0.4, 0.8, 20)
    paired = Paired(current, current + difference, users_left_out=3)
    found = compare(paired, RetrainConfig(margin=margin), "earlier")
    assert found.worse is worse
    assert found.difference == pytest.approx(difference)
    assert found.at_most == pytest.approx(difference)
    assert (found.users, found.users_left_out) == (20, 3)
    assert ("not shown worse" in str(found)) is not worse


def test_few_users_that_differ_both_ways_show_nothing() -> None:
    """Worse on average, and not shown to be: 2 of 5 users gain, 3 lose as much."""
    current, candidate = np.array([0.0, 0, 1, 1, 1]), np.array([1.0, 1, 0, 0, 0])
    found = compare(Paired(current, candidate, 0), RetrainConfig(margin=0), "earlier")
    assert found.difference == pytest.approx(-0.2)
    assert found.at_most > 0
    assert not found.worse
