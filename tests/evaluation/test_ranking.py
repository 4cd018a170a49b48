import pytest
import torch

from brmrs.evaluation import ranking
from brmrs.evaluation.ranking import NotFiniteError, finite, top_k
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch


def branch(users: int, items: int) -> Branch:
    generator = torch.Generator().manual_seed(1)
    return Branch(
        torch.randn(users, 4, generator=generator), torch.randn(items, 4, generator=generator)
    )


def test_masked_items_are_never_ranked_and_short_lists_end_in_minus_one() -> None:
    seen = UserItems.from_pairs(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 2, 3, 1]), 3, 4)
    items, scores = top_k(branch(3, 4), torch.tensor([0, 1, 2]), 4, seen)
    assert items[0].tolist() == [1, -1, -1, -1]
    assert sorted(items[1].tolist()) == [-1, 0, 2, 3]
    assert sorted(items[2].tolist()) == [0, 1, 2, 3]
    assert (scores == -torch.inf).tolist() == (items == -1).tolist()


def test_more_ranks_than_items() -> None:
    items, _ = top_k(branch(2, 3), torch.tensor([1]), 5)
    assert items[0, 3:].tolist() == [-1, -1]


def test_blocks_do_not_change_the_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Integer factors, so that the products are exact whatever the block."""
    generator = torch.Generator().manual_seed(2)
    p, q = (torch.randint(-3, 4, (n, 5), generator=generator).float() for n in (37, 50))
    users = torch.randperm(37, generator=generator)
    pairs = torch.randint(0, 37, (200,), generator=generator)
    seen = UserItems.from_pairs(pairs, torch.arange(200) % 50, 37, 50)
    whole, _ = top_k(Branch(p, q), users, 10, seen)
    monkeypatch.setattr(ranking, "BLOCK_SCORES", 150)
    blocked, _ = top_k(Branch(p, q), users, 10, seen)
    assert torch.equal(whole, blocked)
    assert not seen.contain(users.unsqueeze(1), whole).any()


def test_ranking_by_parameters_keeps_nothing_for_a_gradient() -> None:
    p, q = (torch.rand(3, 2, requires_grad=True) for _ in range(2))
    _, scores = top_k(Branch(p, q), torch.arange(3), 2)
    assert not scores.requires_grad


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_are_refused_even_where_masked(bad: float) -> None:
    p = torch.tensor([[1.0], [1.0], [bad]])
    broken = Branch(p, torch.ones(4, 1))
    items, _ = top_k(broken, torch.tensor([0, 1]), 2)
    assert items.tolist() == [[0, 1], [0, 1]]
    everything = UserItems.from_pairs(torch.full((4,), 2), torch.arange(4), 3, 4)
    with pytest.raises(NotFiniteError, match=r"4 of 8 scores .* lower train\.learning_rate"):
        top_k(broken, torch.tensor([1, 2]), 2, everything)


def test_large_scores_are_finite_though_their_sum_is_not() -> None:
    scores = torch.full((2, 3), 3e38)
    assert torch.equal(finite(scores), scores)
