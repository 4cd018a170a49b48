import numpy as np
import pytest
import torch

from brmrs.columns import TEST
from brmrs.evaluation.strata import rows, strata
from brmrs.graphs.user_items import UserItems

USERS, ITEMS = 4, 8
DAY = 86_400_000

# Item 0 has 4 training interactions, item 1 has 2, items 2 to 5 have 1, items 6 and 7 none.
TRAIN = UserItems.from_pairs(
    torch.tensor([0, 1, 2, 3, 0, 1, 0, 0, 0, 3]),
    torch.tensor([0, 0, 0, 0, 1, 1, 2, 3, 4, 5]),
    USERS,
    ITEMS,
)
HELD_OUT = UserItems.from_pairs(
    torch.tensor([0, 0, 1, 2, 3]), torch.tensor([5, 6, 2, 1, 7]), USERS, ITEMS
)
# Users 0 and 3 find one item each: 6 (cold) and 7 (cold).
LISTS = {"fused": torch.tensor([[6, 7], [3, 4], [2, -1], [7, 1]])}


def found(**options: object) -> dict[tuple[str, str], dict[str, object]]:
    present = {"text": np.arange(ITEMS) != 6}
    times = np.arange(5) * DAY
    chosen = strata(HELD_OUT, TRAIN, **{"present": present, "times": times, **options})  # type: ignore[arg-type]
    every = list(rows(TEST, LISTS, HELD_OUT, chosen))
    return {(row["dimension"], row["stratum"]): row for row in every}


def test_five_pairs_by_hand() -> None:
    values = {key: (row["users"], row["pairs"], row["value"]) for key, row in found().items()}
    assert values == {
        # 20 % of the six trained items are two: items 0 and 1.
        ("item popularity", "cold"): (2, 2, 1.0),  # items 6 and 7, of users 0 and 3
        ("item popularity", "tail"): (2, 2, 0.0),  # items 5 and 2, of users 0 and 1
        ("item popularity", "head"): (1, 1, 0.0),  # item 1, of user 2
        # Training items: user 0 has 5, users 1 and 3 have 2, user 2 has 1; five pairs.
        ("history length", "1"): (1, 1, 0.0),
        ("history length", "2"): (2, 2, 0.5),
        ("history length", "5"): (1, 2, 0.5),
        ("text", "with text"): (4, 4, 0.25),  # the pairs without item 6
        ("text", "without text"): (1, 1, 1.0),
        ("time", "1970-01-01"): (1, 1, 0.0),
        ("time", "1970-01-02"): (1, 1, 1.0),
        ("time", "1970-01-03"): (1, 1, 0.0),
        ("time", "1970-01-04 to 1970-01-05"): (2, 2, 0.5),
    }


def test_the_pairs_of_a_dimension_are_all_pairs() -> None:
    sums: dict[str, int] = {}
    for (dimension, _), row in found().items():
        sums[dimension] = sums.get(dimension, 0) + int(str(row["pairs"]))
    assert set(sums.values()) == {5}


def test_without_times_and_features() -> None:
    dimensions = {dimension for dimension, _ in found(present={}, times=None)}
    assert dimensions == {"item popularity", "history length"}


def test_the_interval_holds_the_value() -> None:
    for row in found().values():
        assert row["low"] <= row["value"] <= row["high"]  # type: ignore[operator]
        assert row["name"] == "recall@2"


def test_ties_stay_together() -> None:
    """All items have one training interaction: the boundary of the head takes all of them."""
    train = UserItems.from_pairs(torch.arange(USERS), torch.arange(USERS), USERS, USERS)
    held_out = UserItems.from_pairs(torch.arange(USERS), torch.arange(USERS).roll(1), USERS, USERS)
    chosen = strata(held_out, train, {}, None)
    assert [(each.name, int(each.pairs.sum())) for each in chosen] == [("head", 4), ("1", 4)]


def test_an_empty_split_has_no_strata() -> None:
    nothing = torch.empty(0, dtype=torch.int64)
    held_out = UserItems.from_pairs(nothing, nothing, USERS, ITEMS)
    assert strata(held_out, TRAIN, {"text": np.ones(ITEMS, dtype=bool)}, None) == []


@pytest.mark.parametrize("seed", range(3))
def test_strata_over_all_pairs_equal_the_metric(seed: int) -> None:
    """With one user group and one item group, the value is Recall@K of the whole."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.randint(0, USERS, (12,), generator=generator)
    held_out = UserItems.from_pairs(
        users, torch.randint(0, ITEMS, (12,), generator=generator), USERS, ITEMS
    )
    lists = torch.stack([torch.randperm(ITEMS, generator=generator)[:3] for _ in range(USERS)])
    own = held_out.counts.nonzero().squeeze(1)
    chosen = strata(held_out, TRAIN, {"text": np.ones(ITEMS, dtype=bool)}, None)
    text = [each for each in chosen if each.dimension == "text"]
    (row,) = rows(TEST, {"fused": lists[own]}, held_out, text)
    expected = [np.isin(held_out.items[held_out.users == user], lists[user]).mean() for user in own]
    assert row["value"] == pytest.approx(np.mean(expected))
