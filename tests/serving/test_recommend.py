import pytest
import torch

from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.models.bundle import Bundle, Description
from brmrs.serving.recommend import recommend, recommend_to_new_user, similar

# Items on a line of directions; user i looks along item i's.
Q = torch.tensor([[4.0, 0.0], [3.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
USERS = ("AANN", "ABOB", "ACAROL")
ITEMS = ("B000", "B001", "B002", "C003")
ABOUT = Description(
    model={"name": "toy"},
    train={},
    best_epoch=1,
    validation={},
    features={},
    users=USERS,
    items=ITEMS,
)
SEEN = UserItems.from_pairs(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]), 3, 4)
BUNDLE = Bundle(ABOUT, {"fused": Branch(Q[:3], Q)}, SEEN, {})


def test_recommends_by_the_fused_score_without_training_items() -> None:
    assert recommend(BUNDLE, "AANN", 1) == [(1, "B001", 12.0)]
    assert recommend(BUNDLE, "AANN", 10) == [(1, "B001", 12.0), (2, "C003", 0.0)]
    assert recommend(BUNDLE, "AANN", 10**14) == recommend(
        BUNDLE, "AANN", 10
    )  # no list of that size


def test_similar_is_the_cosine_without_the_item_itself() -> None:
    ranked = similar(BUNDLE, "B002", 10)
    assert [(rank, asin) for rank, asin, _ in ranked] == [(1, "B001"), (2, "B000"), (3, "C003")]
    assert ranked[0][2] == pytest.approx(4 / 20**0.5)
    assert ranked[1][2] == pytest.approx(1 / 2**0.5)
    assert len(similar(BUNDLE, "B002", 1)) == 1
    assert len(similar(BUNDLE, "B002", 10**14)) == 3


def test_an_unknown_user_is_told_how_many_there_are_and_who_is_near() -> None:
    with pytest.raises(UserError, match=r"no user 'AANX' among the 3 .*mean AANN\?.*new user"):
        recommend(BUNDLE, "AANX", 5)
    with pytest.raises(UserError) as error:
        recommend(BUNDLE, "somebody else", 5)
    assert "mean" not in str(error.value)
    assert "fewer interactions than ingest.k" in str(error.value)


def test_a_new_user_gets_the_best_items_outside_the_history() -> None:
    ranked, unknown = recommend_to_new_user(BUNDLE, ["B000", "new", "B000", "new"], 10)
    assert unknown == ["new"]
    assert [(rank, asin) for rank, asin, _ in ranked[:1]] == [(1, "B001")]
    assert {asin for _, asin, _ in ranked} == {"B001", "B002", "C003"}
    assert recommend_to_new_user(BUNDLE, ["B000"], 1)[0] == ranked[:1]


@pytest.mark.parametrize("history", [[], ["b001"], ["", "é"]])
def test_a_history_without_known_items(history: list[str]) -> None:
    with pytest.raises(UserError, match="no item among the 4"):
        recommend_to_new_user(BUNDLE, history, 5)


def test_an_unknown_item() -> None:
    with pytest.raises(UserError, match=r"no item 'b001' among the 4 .*mean B001"):
        similar(BUNDLE, "b001", 5)


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one(k: int) -> None:
    with pytest.raises(UserError, match="at least one"):
        recommend(BUNDLE, "AANN", k)
    with pytest.raises(UserError, match="at least one"):
        similar(BUNDLE, "B001", k)


@pytest.mark.parametrize("user", ["", "'", "A" * 10_000, "é\n"])
def test_odd_ids_get_the_same_answer(user: str) -> None:
    with pytest.raises(UserError, match="among the 3"):
        recommend(BUNDLE, user, 5)


def test_an_item_alone_has_no_similar_ones() -> None:
    about = ABOUT.model_copy(update={"items": ("B000",)})
    alone = Bundle(about, {"fused": Branch(Q[:3], Q[:1])}, SEEN, {})
    assert similar(alone, "B000", 5) == []


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    broken = Bundle(ABOUT, {"fused": Branch(Q[:3], Q.clone().fill_(bad))}, SEEN, {})
    with pytest.raises(UserError, match="NaN or infinite"):
        recommend(broken, "AANN", 1)
    with pytest.raises(UserError, match="NaN or infinite"):
        similar(broken, "B001", 1)


def test_finite_representations_whose_products_overflow_are_refused() -> None:
    broken = Bundle(ABOUT, {"fused": Branch(Q[:3], Q.clone().fill_(3e38))}, SEEN, {})
    with pytest.raises(UserError, match="NaN or infinite"):
        recommend(broken, "AANN", 1)
