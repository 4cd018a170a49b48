"""New items: placed by the features of the items that the model knows."""

import pytest
import torch

from brmrs.errors import UserError
from brmrs.models.base import Branch
from brmrs.serving.new_items import place

P = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
Q = torch.tensor([[3.0, 1.0], [0.0, 2.0], [1.0, 1.0], [9.0, 9.0], [9.0, 9.0]])
# Item 3 is like item 0 and half as much like item 1; item 4 has no features.
TEXT = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [2.0, 1.0], [0.0, 0.0]])
FEATURES = {"text": (TEXT, torch.tensor([True, True, True, True, False]))}
KNOWN = torch.tensor([True, True, True, False, False])
USERS = torch.arange(2)


def test_a_new_item_is_at_the_weighted_mean_of_its_neighbours() -> None:
    placed = place(Branch(P, Q), FEATURES, KNOWN, neighbours=2)
    expected = (2 * Q[0] + Q[1]) / 3
    found = placed.scores(USERS)
    torch.testing.assert_close(found[:, 3], P @ expected)
    assert torch.equal(found[:, :3], Branch(P, Q).scores(USERS)[:, :3])


def test_an_item_without_features_gets_a_mean_of_known_scores() -> None:
    found = place(Branch(P, Q), FEATURES, KNOWN, neighbours=3).scores(USERS)
    torch.testing.assert_close(found[:, 4], Branch(P, Q).scores(USERS)[:, :3].mean(dim=1))


def test_an_item_without_neighbours_is_placed_at_the_items_of_the_lowest_ids() -> None:
    """Also where its cosines are negative; `torch.topk` takes any of equal values."""
    n = 200
    x = torch.tensor([[-1.0, 0.0], [-1.0, 0.1], *[[0.0, 0.0]] * n, [1.0, 0.0], [0.0, 0.0]])
    known = torch.tensor([*[True] * (n + 2), False, False])
    features = {"text": (x, torch.ones(len(x), dtype=torch.bool))}
    placed = place(Branch(P, torch.ones(len(x), 2)), features, known, neighbours=3)
    assert placed.neighbours.tolist() == [[0, 1, 2], [0, 1, 2]]
    torch.testing.assert_close(placed.weights, torch.full((2, 3), 1 / 3))


def test_two_modalities_count_equally() -> None:
    visual = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    both = {
        "text": FEATURES["text"],
        "visual": (visual, torch.tensor([True, True, False, True, False])),
    }
    placed = place(Branch(P, Q), both, KNOWN, neighbours=2)
    text = TEXT[3] / TEXT[3].norm()
    cosines = torch.stack([text[0] / 2, (text[1] + 1) / 2])
    order = placed.neighbours[0].tolist()
    torch.testing.assert_close(placed.weights[0], (cosines / cosines.sum())[order])


def test_similar_items_of_a_new_item() -> None:
    placed = place(Branch(P, Q), FEATURES, KNOWN, neighbours=1)
    known = Branch(P, Q).similarities(0)[:3]
    torch.testing.assert_close(placed.similarities(3)[:3], known)
    assert placed.similarities(0)[3] == pytest.approx(1)


def test_no_new_item_and_no_known_item() -> None:
    everything = torch.ones(5, dtype=torch.bool)
    same = place(Branch(P, Q), FEATURES, everything)
    assert torch.equal(same.scores(USERS), Branch(P, Q).scores(USERS))
    with pytest.raises(UserError, match="no item has training interactions"):
        place(Branch(P, Q), FEATURES, ~everything)
