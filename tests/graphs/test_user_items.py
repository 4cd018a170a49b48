import torch
from hypothesis import given
from hypothesis import strategies as st

from brmrs.graphs.user_items import UserItems

USERS, ITEMS = 5, 7
PAIRS = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), max_size=30)


def user_items(pairs: list[tuple[int, int]]) -> UserItems:
    users, items = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return UserItems.from_pairs(users, items, USERS, ITEMS)


@given(PAIRS, st.lists(st.integers(0, USERS - 1), max_size=8))
def test_is_the_sets_of_the_pairs(pairs: list[tuple[int, int]], asked: list[int]) -> None:
    sets = user_items(pairs)
    rows, items = sets.of(torch.tensor(asked, dtype=torch.int64))
    expected = [
        (row, item)
        for row, user in enumerate(asked)
        for item in sorted({i for u, i in pairs if u == user})
    ]
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == expected
    assert sets.counts.tolist() == [len({i for u, i in pairs if u == user}) for user in range(5)]


@given(PAIRS)
def test_contain(pairs: list[tuple[int, int]]) -> None:
    grid = user_items(pairs).contain(torch.arange(USERS).unsqueeze(1), torch.arange(-1, ITEMS))
    for user in range(USERS):
        for item in range(-1, ITEMS):
            assert grid[user, item + 1].item() == ((user, item) in pairs)
