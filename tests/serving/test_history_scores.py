import pytest
import torch

from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.models.bundle import Bundle, Description
from brmrs.serving.fold_in import history_scores

Q = torch.tensor([[4.0, 0.0], [3.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
ABOUT = Description(
    model={"name": "toy"},
    train={},
    best_epoch=1,
    validation={},
    features={},
    users=("A", "B", "C"),
    items=("B000", "B001", "B002", "C003"),
)
SEEN = UserItems.from_pairs(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 2, 1, 3]), 3, 4)
BUNDLE = Bundle(ABOUT, {"fused": Branch(Q[[1, 1, 3]], Q)}, SEEN, {})


def test_a_history_prefers_its_own_direction() -> None:
    near, far = history_scores(BUNDLE, [0]), history_scores(BUNDLE, [3])
    assert near.shape == (4,)
    assert near.argmax() == 0
    assert far.argmax() == 3


def test_order_and_repetition_do_not_matter() -> None:
    assert torch.equal(history_scores(BUNDLE, [2, 0, 2]), history_scores(BUNDLE, [0, 2]))


@pytest.mark.parametrize(
    ("items", "branch", "line"),
    [
        ([], "fused", "history is empty"),
        ([4], "fused", "outside 0 to 3"),
        ([-1], "fused", "outside 0 to 3"),
        ([0], "text", "no branch 'text'; it has fused"),
    ],
)
def test_bad_histories(items: list[int], branch: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        history_scores(BUNDLE, items, branch)
