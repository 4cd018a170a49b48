"""Fold-in: scores of new users from their histories."""

import pytest
import torch
from checkerboard import ITEMS, USERS, make_data

from brmrs.columns import FUSED
from brmrs.config.models import section as section_of_model
from brmrs.graphs.user_items import UserItems
from brmrs.models import registry
from brmrs.models.base import Branch, Scorer
from brmrs.models.fold_in import UserRegression
from brmrs.models.most_popular import popularity

DATA = make_data()
SEEN = UserItems.from_pairs(DATA.train_users, DATA.train_items, USERS, ITEMS)
SOME = torch.tensor([3, 0, 5])


def branch_of(model: str) -> Scorer:
    with torch.no_grad():
        return registry.build(section_of_model(model)(), DATA, seed=0).branches()[FUSED]


def histories_of(users: torch.Tensor) -> UserItems:
    rows, items = SEEN.of(users)
    return UserItems.from_pairs(rows, items, len(users), ITEMS)


@pytest.mark.parametrize("model", ["ease", "item-knn"])
def test_item_based_models_are_exact(model: str) -> None:
    scorer = branch_of(model)
    new = scorer.fold_in(SEEN)(histories_of(SOME))
    assert new.shape == (3, ITEMS)
    assert torch.equal(new.scores(torch.arange(3)), scorer.scores(SOME))


def test_the_most_popular_stay_the_most_popular() -> None:
    scorer = popularity(SEEN.items, USERS, ITEMS)
    new = scorer.fold_in(SEEN)(histories_of(SOME)).scores(torch.arange(3))
    torch.testing.assert_close(new, scorer.scores(SOME), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model", ["lightgcn", "maml", "vecf"])
def test_new_users_get_finite_scores_by_their_history(model: str) -> None:
    new = branch_of(model).fold_in(SEEN)(histories_of(SOME))
    scores = new.scores(torch.arange(3))
    assert new.shape == scores.shape == (3, ITEMS)
    assert torch.isfinite(scores).all()
    assert not torch.equal(scores[0], scores[1])


def test_the_regression_finds_users_who_are_linear_in_their_items() -> None:
    generator = torch.Generator().manual_seed(0)
    users, items = 400, 30
    seen = UserItems.from_pairs(
        torch.randint(users, (4000,), generator=generator),
        torch.randint(items, (4000,), generator=generator),
        users,
        items,
    )
    q = torch.randn(items, 4, generator=generator)
    # p_u written out: one propagation step, a linear map and a constant.
    root = torch.bincount(seen.items, minlength=items).sqrt()
    mixing, constant = torch.randn(4, 6, generator=generator), torch.randn(6, generator=generator)
    p = torch.stack(
        [
            sum((q[i] / root[i] for i in seen.items[seen.users == u]), torch.zeros(4))
            / float(seen.counts[u]) ** 0.5
            for u in range(users)
        ]
    )
    found = UserRegression.fit(seen, q, p @ mixing + constant)(seen)
    # The ridge shrinks by a thousandth.
    torch.testing.assert_close(found, p @ mixing + constant, rtol=0.02, atol=0.02)


def test_a_user_without_history_gets_the_constant() -> None:
    fitted = UserRegression.fit(SEEN, torch.randn(ITEMS, 3), torch.ones(USERS, 2))
    nobody = UserItems.from_pairs(torch.tensor([0]), torch.tensor([1]), 2, ITEMS)
    torch.testing.assert_close(fitted(nobody)[1], torch.ones(2), rtol=1e-2, atol=1e-2)


def test_other_scorers_sum_similarities() -> None:
    class Plain(Branch):
        fold_in = Scorer.fold_in

    plain = Plain(torch.eye(4), torch.tensor([[1.0, 0], [0, 1], [1, 1], [1, 0]]))
    history = UserItems.from_pairs(torch.tensor([0, 0]), torch.tensor([0, 1]), 2, 4)
    new = plain.fold_in(history)(history)
    half = 0.5**0.5
    expected = torch.tensor([[1.0, 1, 2 * half, 1], [0, 0, 0, 0]])
    torch.testing.assert_close(new.scores(torch.arange(2)), expected)
    assert torch.equal(new.similarities(2), plain.similarities(2))
