"""Two models on common ground, and the bootstrap between them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brmrs.config.learning import RetrainConfig
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.models.bundle import Bundle, Description
from brmrs.serving.promotion import (
    FEW_USERS,
    INFERIOR,
    NOT_INFERIOR,
    UNKNOWN,
    Paired,
    compare,
    decide,
    measure_both,
)

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


ONE = RetrainConfig(margin=0.05, min_users=1)


@pytest.mark.parametrize(
    ("difference", "margin", "state"),
    [
        (-0.2, 0.1, INFERIOR),
        (-0.2, 0.2, INFERIOR),
        (-0.2, 0.3, NOT_INFERIOR),
        (0.0, 0.0, INFERIOR),
        (0.1, 0.0, NOT_INFERIOR),
    ],
)
def test_the_margin_decides_where_the_difference_is_certain(
    difference: float, margin: float, state: str
) -> None:
    current = np.linspace(0.4, 0.8, 20)
    paired = Paired(current, current + difference, users_left_out=3)
    config = RetrainConfig(margin=margin, min_users=20)
    found = compare(paired, config, "earlier")
    assert decide(found, config)[0] == state
    assert found.difference == pytest.approx(difference)
    assert found.at_least == pytest.approx(difference)
    assert (found.users, found.users_left_out) == (20, 3)


def test_an_uncertain_difference_is_not_enough() -> None:
    """Better on average, and not shown not to be worse: 3 of 5 users gain, 2 lose as much."""
    current, candidate = np.array([1.0, 1, 0, 0, 0]), np.array([0.0, 0, 1, 1, 1])
    found = compare(Paired(current, candidate, 0), ONE, "earlier")
    assert found.difference == pytest.approx(0.2)
    assert found.at_least is not None
    assert found.at_least < -0.05
    assert decide(found, ONE)[0] == INFERIOR


def test_what_cannot_be_shown_is_not_promoted() -> None:
    better = compare(Paired(np.zeros(99), np.ones(99), 0), RetrainConfig(), "earlier")
    assert decide(better, RetrainConfig())[0] == FEW_USERS
    assert decide(better, RetrainConfig(min_users=99))[0] == NOT_INFERIOR
    for lost in (replace(better, known_users=0.89), replace(better, known_items=0.89)):
        state, why = decide(lost, RetrainConfig(min_users=1))
        assert state == UNKNOWN
        assert "retrain.min_known_share 0.9" in why
    nobody = compare(Paired(np.empty(0), np.empty(0), 7), RetrainConfig(), "earlier")
    assert decide(nobody, RetrainConfig())[0] == FEW_USERS
    assert "no validation user" in str(nobody)


def share_promoted(users: int, worse_by: float) -> float:
    """Of 200 draws of two models whose hits are unrelated; the served one hits for 8 % of users."""
    config, drawn = RetrainConfig(), np.random.default_rng(users)
    promoted = 0
    for _ in range(200):
        current = drawn.random(users) < 0.08
        candidate = drawn.random(users) < 0.08 - worse_by
        paired = Paired(current.astype(float), candidate.astype(float), 0)
        promoted += decide(compare(paired, config, "earlier"), config)[0] == NOT_INFERIOR
    return promoted / 200


@pytest.mark.parametrize("users", [20, 100, 500])
def test_models_worse_by_twice_the_margin_are_rarely_promoted(users: int) -> None:
    assert share_promoted(users, worse_by=2 * RetrainConfig().margin) <= 0.05


def test_models_that_are_equal_on_many_users_mostly_are() -> None:
    assert share_promoted(5_000, worse_by=0.0) >= 0.8
