from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.training.sampling import Sampler, seeded

CPU = torch.device("cpu")


def user_items(pairs: list[tuple[int, int]], users: int, items: int) -> UserItems:
    ends = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return UserItems.from_pairs(ends[0], ends[1], users, items)


# User 0 has both ends of the items, user 1 a block inside, user 2 all but one, user 3 nothing.
ITEMS = 12
TRAIN = user_items(
    [(0, i) for i in (0, 1, 11)]
    + [(1, i) for i in (4, 5, 6, 8)]
    + [(2, i) for i in range(ITEMS) if i != 7],
    4,
    ITEMS,
)


@pytest.mark.parametrize("user", range(4))
def test_negatives_are_uniform_over_what_is_not_in_training(user: int) -> None:
    users = torch.full((4000,), user)
    drawn = Sampler(TRAIN, 5).negatives(users, seeded(0, 1, 0, CPU))
    counts = Counter(drawn.flatten().tolist())
    own = set(TRAIN.of(torch.tensor([user]))[1].tolist())
    free = sorted(set(range(ITEMS)) - own)
    assert sorted(counts) == free
    assert len(free) == 1 or chisquare([counts[item] for item in free]).pvalue > 1e-4


@given(st.integers(1, 8), st.integers(1, 15), st.integers(0, 2**32))
def test_every_free_item_and_no_other_can_be_drawn(users: int, items: int, seed: int) -> None:
    """Each rank is mapped to its own free item: 0..I - |N_u| - 1 onto all of them."""
    generator = np.random.default_rng(seed)
    grid = generator.random((users, items)) < generator.random()
    grid[:, generator.integers(items)] = False  # everyone has left an item out
    grid[0, 0] = items > 1
    pairs = [(int(u), int(i)) for u, i in np.argwhere(grid)]
    if not pairs or grid.all(axis=1).any():
        return
    sampler = Sampler(user_items(pairs, users, items), 400)
    drawn = sampler.negatives(torch.arange(users), seeded(seed, 1, 0, CPU))
    for user in range(users):
        assert set(drawn[user].tolist()) == set(np.flatnonzero(~grid[user]).tolist())


def test_an_epoch_holds_every_interaction_once_and_nothing_else() -> None:
    train = user_items([(u, i) for u in range(9) for i in range(20) if (u * i) % 3], 9, 20)
    batches = list(Sampler(train, 2).epoch(16, seeded(0, 1, 0, CPU)))
    pairs = [
        pair
        for batch in batches
        for pair in zip(batch.users.tolist(), batch.positives.tolist(), strict=True)
    ]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == set(zip(train.users.tolist(), train.items.tolist(), strict=True))
    assert pairs != sorted(pairs)
    assert {batch.negatives.shape[1] for batch in batches} == {2}
    assert [len(batch.users) for batch in batches[:-1]] == [16] * (len(batches) - 1)
    for batch in batches:
        assert not train.contain(batch.users.unsqueeze(1), batch.negatives).any()


def test_drawn_by_users_every_user_has_the_same_weight() -> None:
    """User 0 has one item, user 1 two, user 2 nine, user 3 none."""
    pairs = [(0, 3), (1, 0), (1, 1), *((2, i) for i in range(9))]
    sampler = Sampler(user_items(pairs, 4, 10), 1, "users")
    epochs = [sampler.epoch(5, seeded(0, epoch, 0, CPU)) for epoch in range(1000)]
    batches = [batch for epoch in epochs for batch in epoch]
    drawn = [
        pair
        for batch in batches
        for pair in zip(batch.users.tolist(), batch.positives.tolist(), strict=True)
    ]
    counts = Counter(drawn)
    assert len(drawn) == 1000 * len(pairs)
    assert set(counts) == set(pairs)
    of_user = Counter(user for user, _ in pairs)
    expected = [len(drawn) / (3 * of_user[user]) for user, _ in pairs]
    assert chisquare([counts[pair] for pair in pairs], expected).pvalue > 1e-4
    assert all(len(batch.users) <= 5 for batch in batches)


def test_drawn_by_users_a_user_who_has_everything_is_left_out() -> None:
    train = user_items([(0, i) for i in range(4)] + [(1, 2)], 2, 4)
    batches = list(Sampler(train, 1, "users").epoch(10, seeded(0, 1, 0, CPU)))
    assert [batch.users.tolist() for batch in batches] == [[1]]


def draws(seed: int, epoch: int) -> list[int]:
    batches = Sampler(TRAIN, 3).epoch(5, seeded(seed, epoch, 0, CPU))
    return [n for b in batches for n in [*b.users.tolist(), *b.negatives.flatten().tolist()]]


def test_a_seed_and_an_epoch_fix_the_draws() -> None:
    assert draws(7, 3) == draws(7, 3)
    assert draws(7, 3) != draws(7, 4)
    assert draws(7, 3) != draws(8, 3)


def test_the_global_generator_is_neither_read_nor_advanced() -> None:
    state = torch.get_rng_state()
    first = draws(0, 1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert draws(0, 1) == first


def test_a_user_who_has_everything_is_left_out() -> None:
    train = user_items([(0, i) for i in range(4)] + [(1, 2)], 2, 4)
    batches = list(Sampler(train, 1).epoch(10, seeded(0, 1, 0, CPU)))
    assert [batch.users.tolist() for batch in batches] == [[1]]
    without_negatives = list(Sampler(train, 0).epoch(10, seeded(0, 1, 0, CPU)))
    assert sorted(without_negatives[0].users.tolist()) == [0, 0, 0, 0, 1]


def test_when_everyone_has_everything_the_error_says_so() -> None:
    train = user_items([(u, i) for u in range(2) for i in range(3)], 2, 3)
    with pytest.raises(UserError, match="nothing to train on: in all 6"):
        Sampler(train, 1)


def test_no_interactions_at_all() -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        Sampler(user_items([], 2, 3), 1)
