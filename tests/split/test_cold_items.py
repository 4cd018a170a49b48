"""The protocol `cold-items`: items that are in no training, graph or draw of negatives."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from brmrs import columns
from brmrs.columns import TEST, TRAIN, VALIDATION
from brmrs.config.data import SplitConfig
from brmrs.errors import UserError
from brmrs.evaluation.metrics import measure
from brmrs.evaluation.ranking import ranked_items
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.split.stage import DROPPED, cold_items, split
from brmrs.training.sampling import Sampler

USERS, ITEMS = 40, 20
GENERATOR = np.random.default_rng(0)
PAIRS = np.unique(GENERATOR.integers((USERS, ITEMS), size=(300, 2)), axis=0)
USER, ITEM = (PAIRS[:, column].astype(np.int32) for column in (0, 1))


def test_an_item_is_in_one_part_only() -> None:
    labels = cold_items(USER, ITEM, 0.2, seed=3)
    parts = {part: set(ITEM[labels == part].tolist()) for part in (TRAIN, VALIDATION, TEST)}
    assert [len(parts[part]) for part in (VALIDATION, TEST)] == [2, 2]
    assert set.union(*parts.values()) == set(ITEM.tolist())
    assert sum(map(len, parts.values())) == ITEMS
    assert set(USER[labels > TRAIN].tolist()) <= set(USER[labels == TRAIN].tolist())


def test_the_seed_decides_and_the_order_of_the_rows_does_not() -> None:
    order = np.random.default_rng(1).permutation(len(USER))
    labels = cold_items(USER, ITEM, 0.2, seed=3)
    assert (cold_items(USER[order], ITEM[order], 0.2, seed=3) == labels[order]).all()
    assert (cold_items(USER, ITEM, 0.2, seed=4) != labels).any()


def test_users_without_training_items_are_dropped() -> None:
    user, item = np.array([0, 0, 0, 1, 1], np.int32), np.array([0, 1, 2, 0, 1], np.int32)
    labels = [cold_items(user, item, 0.7, seed) for seed in range(20)]
    dropped = [found for found in labels if (found == DROPPED).any()]
    assert dropped
    for found in dropped:
        assert (found[3:] == DROPPED).all()
        assert sorted(found[:3].tolist()) == [TRAIN, VALIDATION, TEST]


def test_too_few_items_are_one_line() -> None:
    user, item = np.array([0, 0], np.int32), np.array([0, 1], np.int32)
    with pytest.raises(UserError, match=r"cold-items at .* leaves no train"):
        cold_items(user, item, 0.5, 0)


def test_it_needs_no_times() -> None:
    times = pa.nulls(len(USER), pa.int64())
    table = pa.table({columns.USER: USER, columns.ITEM: ITEM, columns.TIMESTAMP: times})
    labels = split(table, SplitConfig(protocol="cold-items", held_out=0.2, seed=3))
    assert (labels == cold_items(USER, ITEM, 0.2, 3)).all()


def test_negatives_are_drawn_from_the_items_with_training_interactions() -> None:
    labels = cold_items(USER, ITEM, 0.4, seed=0)
    users, items = (torch.from_numpy(x[labels == TRAIN]).long() for x in (USER, ITEM))
    train = UserItems.from_pairs(users, items, USERS, ITEMS)
    warm = torch.unique(train.items)
    sampler = Sampler(train, 200, drawn=warm)
    negatives = sampler.negatives(users, torch.Generator().manual_seed(0))
    assert set(negatives.flatten().tolist()) == set(warm.tolist())
    assert not train.contain(users.unsqueeze(1), negatives).any()
    # Uniform over the user's free items.
    one = negatives[users == users[0]].flatten()
    counts = torch.bincount(one, minlength=ITEMS)[warm]
    free = counts[counts > 0]
    assert len(free) == len(warm) - int(train.counts[users[0]])
    assert float(free.max()) < 1.6 * float(free.min())


def test_drawing_from_all_items_is_unchanged() -> None:
    users, items = (torch.from_numpy(x).long() for x in (USER, ITEM))
    train = UserItems.from_pairs(users, items, USERS, ITEMS)
    drawn = [
        Sampler(train, 3, drawn=which).negatives(users, torch.Generator().manual_seed(0))
        for which in (None, torch.arange(ITEMS))
    ]
    assert torch.equal(*drawn)


def test_the_items_of_a_part_are_ranked_among_themselves() -> None:
    """Item 4 has the best score, but is no item of the part."""
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0, 9.0]])
    branch = Branch(torch.ones(1, 1), scores.T)
    held_out = UserItems.from_pairs(torch.tensor([0]), torch.tensor([2]), 1, 5)
    train = UserItems.from_pairs(torch.tensor([0]), torch.tensor([0]), 1, 5)
    among = ranked_items("cold-items", held_out)
    assert among is not None
    assert among.tolist() == [False, False, True, False, False]
    assert ranked_items("random", held_out) is None
    assert measure(branch, held_out, train, (1,), among=among)["recall@1"].item() == 1
    assert measure(branch, held_out, train, (1,))["recall@1"].item() == 0
