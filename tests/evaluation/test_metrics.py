import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brmrs.columns import METRICS
from brmrs.evaluation.metrics import DEFINITIONS, from_hits, means, measure
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch

LOG3 = math.log2(3)
# Five users: the hits of the first three ranks, the number of held-out items, the metrics @3.
ROWS: list[tuple[list[int], int, dict[str, float]]] = [
    (
        [1, 0, 0],
        1,
        {"recall": 1, "precision": 1 / 3, "hit_rate": 1, "mrr": 1, "ndcg": 1, "map": 1},
    ),
    (
        [0, 1, 1],
        2,
        {
            "recall": 1,
            "precision": 2 / 3,
            "hit_rate": 1,
            "mrr": 1 / 2,
            "ndcg": (1 / LOG3 + 1 / 2) / (1 + 1 / LOG3),
            "map": (1 / 2 + 2 / 3) / 2,
        },
    ),
    (
        [0, 0, 1],
        5,  # more held-out items than ranks: the ideal list is cut at 3
        {
            "recall": 1 / 5,
            "precision": 1 / 3,
            "hit_rate": 1,
            "mrr": 1 / 3,
            "ndcg": (1 / 2) / (1 + 1 / LOG3 + 1 / 2),
            "map": (1 / 3) / 3,
        },
    ),
    (
        [0, 0, 0],
        2,
        {"recall": 0, "precision": 0, "hit_rate": 0, "mrr": 0, "ndcg": 0, "map": 0},
    ),
    (
        [1, 1, 1],
        4,
        {"recall": 3 / 4, "precision": 1, "hit_rate": 1, "mrr": 1, "ndcg": 1, "map": 1},
    ),
]


def test_five_rows_by_hand() -> None:
    hits = torch.tensor([row[0] for row in ROWS], dtype=torch.bool)
    relevant = torch.tensor([row[1] for row in ROWS])
    values = from_hits(hits, relevant, (1, 3))
    for name in METRICS:
        assert values[f"{name}@3"].tolist() == pytest.approx([row[2][name] for row in ROWS])
    assert values["recall@1"].tolist() == pytest.approx([1, 0, 0, 0, 1 / 4])
    assert values["ndcg@1"].tolist() == [1, 0, 0, 0, 1]
    assert means(values)["recall@3"] == pytest.approx((1 + 1 + 1 / 5 + 0 + 3 / 4) / 5)


def test_every_metric_is_defined() -> None:
    assert set(DEFINITIONS) == {*METRICS, "protocol"}


def slow(hits: list[bool], relevant: int, k: int) -> dict[str, float]:
    """The definitions, one user at a time."""
    first = hits[:k]
    dcg = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(first, 1) if hit)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(relevant, k) + 1))
    precisions = [sum(first[:rank]) / rank for rank, hit in enumerate(first, 1) if hit]
    return {
        "recall": sum(first) / relevant,
        "precision": sum(first) / k,
        "hit_rate": float(any(first)),
        "mrr": 1 / (first.index(True) + 1) if any(first) else 0.0,
        "ndcg": dcg / ideal,
        "map": sum(precisions) / min(relevant, k),
    }


@given(st.data(), st.integers(1, 8))
def test_agrees_with_the_definitions(data: st.DataObject, k: int) -> None:
    rows = data.draw(st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=1))
    relevant = [data.draw(st.integers(max(1, sum(row)), 12)) for row in rows]
    values = from_hits(torch.tensor(rows), torch.tensor(relevant), (k,))
    for user, row in enumerate(rows):
        for name, expected in slow(row, relevant[user], k).items():
            assert values[f"{name}@{k}"][user].item() == pytest.approx(expected)


def test_a_user_without_held_out_items_is_refused() -> None:
    with pytest.raises(ValueError, match="without held-out"):
        from_hits(torch.zeros(1, 3, dtype=torch.bool), torch.tensor([0]), (3,))


def test_too_short_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match="cut-off 5"):
        from_hits(torch.zeros(1, 3, dtype=torch.bool), torch.tensor([1]), (1, 5))


def test_measure_masks_training_items_only_and_skips_users_without_held_out_items() -> None:
    """Two users, four items, scores falling with the item id.

    User 0 trained on item 0, item 2 is held out: rank 2 of what is left. User 1 has none.
    """
    branch = Branch(torch.ones(2, 1), torch.tensor([[4.0], [3.0], [2.0], [1.0]]))
    train = UserItems.from_pairs(torch.tensor([0, 1]), torch.tensor([0, 1]), 2, 4)
    held_out = UserItems.from_pairs(torch.tensor([0]), torch.tensor([2]), 2, 4)
    values = measure(branch, held_out, train, (1, 2, 10))
    assert values["recall@1"].tolist() == [0]
    assert values["mrr@2"].tolist() == [0.5]
    assert values["precision@10"].tolist() == [0.1]  # fewer than ten items are left to rank
