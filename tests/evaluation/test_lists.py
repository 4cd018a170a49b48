import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from brmrs.evaluation.lists import DEFINITIONS, Features, describe, diversity, gini
from brmrs.graphs.user_items import UserItems

# Items 0 to 3 with 3, 2, 1 and 0 training interactions; users 0, 1, 2.
TRAIN = UserItems.from_pairs(
    torch.tensor([0, 1, 2, 0, 1, 0]), torch.tensor([0, 0, 0, 1, 1, 2]), 3, 4
)
USERS = torch.arange(3)
TEXT = Features.of(
    torch.tensor([[2.0, 0.0], [0.0, 5.0], [1.0, 0.0], [0.0, 0.0]]),
    torch.tensor([True, True, True, False]),
)


def test_three_lists_by_hand() -> None:
    lists = torch.tensor([[3, -1], [2, 3], [1, 2]])
    found = describe(lists, USERS, TRAIN, {"text": diversity(lists, TEXT)})
    assert found["coverage"] == pytest.approx(3 / 4)
    # Recommended 0, 1, 2, 2 times: (-3 * 0 - 1 * 1 + 1 * 2 + 3 * 2) / (4 * 5).
    assert found["gini"] == pytest.approx(7 / 20)
    # Bits: item 3 log2(4 / 1), item 2 log2(4 / 2), item 1 log2(4 / 3).
    bits = [2, (1 + 2) / 2, (np.log2(4 / 3) + 1) / 2]
    assert found["novelty"] == pytest.approx(np.mean(bits))
    assert found["popularity"] == pytest.approx(np.mean([0, 0.5, 1.5]))
    # Histories: (3 + 2 + 1) / 3, (3 + 2) / 2, 3.
    assert found["popularity_lift"] == pytest.approx(np.mean([0 / 2, 0.5 / 2.5, 1.5 / 3]) - 1)
    assert found["text_diversity"] == pytest.approx(1)  # only items 1 and 2 form a pair
    assert set(found) | {"visual_diversity"} == set(DEFINITIONS)


def test_the_same_list_for_everyone() -> None:
    lists = torch.tensor([[0, 1]] * 3)
    found = describe(lists, USERS, TRAIN, {"text": diversity(lists, TEXT)})
    assert found["coverage"] == 0.5
    assert found["gini"] == pytest.approx((4 - 2) / 4)


def test_empty_lists_have_no_values() -> None:
    lists = torch.full((3, 2), -1)
    found = describe(lists, USERS, TRAIN, {"text": diversity(lists, TEXT)})
    assert found["coverage"] == 0
    assert all(value is None for name, value in found.items() if name != "coverage")


def test_a_user_without_history_has_no_lift() -> None:
    train = UserItems.from_pairs(torch.tensor([0]), torch.tensor([0]), 2, 2)
    found = describe(torch.tensor([[1], [0]]), torch.arange(2), train, {})
    assert found["popularity_lift"] == pytest.approx(-1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_gini_is_the_mean_difference_over_twice_the_mean(counts: list[int]) -> None:
    found = gini(torch.tensor(counts))
    if sum(counts) == 0:
        assert found is None
    else:
        values = np.array(counts, dtype=float)
        differences = np.abs(values[:, None] - values).mean()
        assert found == pytest.approx(differences / (2 * values.mean()))


@given(st.integers(0, 2**32 - 1))
def test_diversity_equals_the_mean_over_the_pairs(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(9, 4, generator=generator)
    present = torch.rand(9, generator=generator) < 0.6
    features = Features.of(vectors * present.unsqueeze(1), present)
    lists = torch.stack([torch.randperm(9, generator=generator)[:5] for _ in range(3)])
    lists[0, 3:] = -1
    for row, found in zip(lists, diversity(lists, features), strict=True):
        expected = _pair_by_pair(row, vectors, present)
        assert float(found) == pytest.approx(expected, abs=1e-6, nan_ok=True)  # sums of float32


def _pair_by_pair(row: Tensor, vectors: Tensor, present: Tensor) -> float:
    items = [int(item) for item in row if item >= 0 and present[item]]
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
    pairs = [1 - unit[a] @ unit[b] for n, a in enumerate(items) for b in items[n + 1 :]]
    return float(np.mean(pairs)) if pairs else float("nan")
