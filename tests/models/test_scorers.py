"""What ranks without being an inner product: saved, loaded and served like any other."""

from pathlib import Path

import pytest
import torch
from checkerboard import ITEMS, UNSEEN_USER, USERS, make_data

from brmrs.columns import FUSED
from brmrs.config.models import section as section_of_model
from brmrs.evaluation.ranking import top_k
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle, registry
from brmrs.models.base import Scorer
from brmrs.models.scorers import SCORERS, kind_of
from brmrs.serving.publish import recommendations
from brmrs.serving.recommend import recommend, similar

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = {
    "inner-product": "bpr-mf",
    "item-weights": "ease",
    "item-neighbours": "item-knn",
    "attentive-metric": "maml",
    "attentive-parts": "vecf",
}
DATA = make_data()
SEEN = UserItems.from_pairs(DATA.train_users, DATA.train_items, USERS, ITEMS)


def scorer(kind: str) -> Scorer:
    model = registry.build(section_of_model(KINDS[kind])(), DATA, seed=0)
    with torch.no_grad():
        return model.branches()[FUSED]


def saved_and_loaded(kind: str, folder: Path) -> bundle.Bundle:
    about = bundle.Description(
        model={"name": KINDS[kind]},
        train={},
        best_epoch=0,
        validation={},
        features={},
        users=tuple(f"U{user:02}" for user in range(USERS)),
        items=tuple(f"B{item:02}" for item in range(ITEMS)),
    )
    bundle.Bundle(about, {FUSED: scorer(kind)}, SEEN, {}).save(folder)
    return bundle.load(folder)


def test_every_kind_is_tried() -> None:
    # The sum needs its parts beside it: tests/models/test_residuals.py.
    assert sorted([*KINDS, "standardised-sum"]) == sorted(SCORERS)
    assert all(kind_of(scorer(kind)) == kind for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_ranks_as_the_model_did(kind: str, tmp_path: Path) -> None:
    loaded, made = saved_and_loaded(kind, tmp_path).fused, scorer(kind)
    users = torch.tensor([4, UNSEEN_USER, 0, 4])
    assert torch.equal(loaded.scores(users), made.scores(users))
    assert torch.equal(loaded.similarities(3), made.similarities(3))
    assert loaded.shape == made.shape == (USERS, ITEMS)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_may_be_masked_in_place_again_and_again(kind: str) -> None:
    made = scorer(kind)
    before = {name: tensor.clone() for name, tensor in vars(made).items()}
    users = torch.arange(USERS)
    first = top_k(made, users, 5, SEEN)
    made.similarities(3).fill_(7)
    assert all(torch.equal(a, b) for a, b in zip(first, top_k(made, users, 5, SEEN), strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in vars(made).items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_serves(kind: str, tmp_path: Path) -> None:
    loaded = saved_and_loaded(kind, tmp_path)
    ranked = recommend(loaded, "U04", k=3)
    known = set(SEEN.items[SEEN.users == 4].tolist())
    scores = loaded.fused.scores(torch.tensor([4]))[0]
    best = sorted(set(range(ITEMS)) - known, key=lambda item: (-float(scores[item]), item))[:3]
    assert [asin for _, asin, _ in ranked] == [f"B{item:02}" for item in best]
    near = [asin for _, asin, _ in similar(loaded, "B03", k=ITEMS)]
    assert len(near) == ITEMS - 1
    assert "B03" not in near
    assert len(recommendations(loaded, 2)["user"]) == 2 * USERS
