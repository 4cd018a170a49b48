import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from brmrs.graphs.top_k import best


def reference(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, items = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :k], items[:, :k]


@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32))
def test_ties_go_to_the_lower_item(users: int, items: int, k: int, seed: int) -> None:
    """Few distinct scores, so that almost every last place is tied."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-2, 3, (users, items), generator=generator).float()
    values, chosen = best(scores, k)
    expected_values, expected = reference(scores, k)
    assert torch.equal(chosen, expected)
    assert torch.equal(values, expected_values)


def test_zero_and_minus_zero_tie() -> None:
    assert best(torch.tensor([[-0.0, 0.0, -0.0]]), 2)[1].tolist() == [[0, 1]]


def test_large_rows_without_ties() -> None:
    scores = torch.rand(3, 5000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(best(scores, 20)[1], reference(scores, 20)[1])


@given(st.integers(1, 5), st.integers(1, 900), st.integers(0, 2**32), st.booleans())
def test_rows_of_many_lanes(k: int, items: int, seed: int, tied: bool) -> None:
    """Some scores are those of masked items; the last columns fill no lane."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-2, 3 if tied else 2**20, (3, items), generator=generator).float()
    scores[scores == -1] = -torch.inf
    values, expected = reference(scores, k)
    assert torch.equal(best(scores, k)[0], values)
    real = values > -torch.inf  # masked items have no order
    assert torch.equal(best(scores, k)[1][real], expected[real])


@pytest.mark.parametrize(
    ("row", "k", "chosen"),
    [
        ([0.5, 0.5, 0.5, 0.5], 2, [0, 1]),
        ([0.1, 0.5, 0.9, 0.5], 2, [2, 1]),
        ([0.1, 0.5, 0.9, 0.5], 3, [2, 1, 3]),
        ([0.0, -1.0, 0.2, 0.0], 3, [2, 0, 3]),
        ([0.4, -torch.inf, 0.3, 0.2], 9, [0, 2, 3, 1]),
    ],
)
def test_by_hand(row: list[float], k: int, chosen: list[int]) -> None:
    assert best(torch.tensor([row]), k)[1].tolist() == [chosen]
