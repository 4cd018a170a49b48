import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brmrs.columns import TEST, VALIDATION
from brmrs.diagnosis.scan import by_part
from brmrs.evaluation import ranking
from brmrs.evaluation.metrics import evaluated
from brmrs.evaluation.ranking import top_k
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch

USERS, ITEMS, K = 9, 14, 5


def board(seed: int) -> tuple[dict[str, Branch], dict[int, UserItems], UserItems]:
    """Scores with many ties, and random training, validation and test items."""
    rng = np.random.default_rng(seed)
    part = rng.choice(4, size=(USERS, ITEMS), p=(0.3, 0.1, 0.2, 0.4))
    part[0] = 3  # a user without any item
    sets = []
    for wanted in range(3):
        users, items = (torch.from_numpy(x) for x in (part == wanted).nonzero())
        sets.append(UserItems.from_pairs(users, items, USERS, ITEMS))
    train, validation, test = sets
    scores = {
        name: torch.from_numpy(rng.integers(0, 5, (USERS, ITEMS))).float()
        for name in ("fused", "text", "visual")
    }
    branches = {name: Branch(torch.eye(USERS), each.T) for name, each in scores.items()}
    return branches, {VALIDATION: validation, TEST: test}, train


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), block=st.sampled_from([1, 30, 2**22]))
def test_ranks_and_scores_are_those_of_the_lists(seed: int, block: int) -> None:
    branches, held_out, train = board(seed)
    before, ranking.BLOCK_SCORES = ranking.BLOCK_SCORES, block
    try:
        scans = by_part(branches, held_out, train, "random", k=K, negatives=3, seed=0)
    finally:
        ranking.BLOCK_SCORES = before
    for part, items in held_out.items():
        found = scans[part]
        assert found.users.tolist() == evaluated(items).tolist()
        assert found.users[found.rows].tolist() == items.users.tolist()
        assert found.items[:, 0].tolist() == items.items.tolist()
        fused, fused_scores = top_k(branches["fused"], found.users, K, train)
        assert torch.equal(found.lists, fused)
        assert torch.equal(found.list_scores["fused"], fused_scores)
        for name, branch in branches.items():
            whole, _ = top_k(branch, found.users, ITEMS, train)
            ranks = (whole[found.rows] == found.items[:, :1]).int().argmax(dim=1) + 1
            assert torch.equal(found.ranks[name], ranks)
            assert torch.equal(
                found.scores[name], branch.pairs(found.users[found.rows], found.items)
            )
        drawn = found.users[found.rows].unsqueeze(1).expand(-1, 3)
        assert not train.contain(drawn, found.items[:, 1:]).any()
        assert found.ranked.tolist() == (ITEMS - train.counts[found.users]).tolist()


def test_new_items_are_ranked_among_themselves() -> None:
    branches, held_out, _ = board(3)
    nothing = torch.tensor([], dtype=torch.int64)
    train = UserItems.from_pairs(nothing, nothing, USERS, ITEMS)
    scans = by_part(branches, held_out, train, "cold-items", k=K, negatives=4, seed=0)
    for part, items in held_out.items():
        own = set(items.items.tolist())
        assert set(scans[part].items.flatten().tolist()) <= own
        assert set(scans[part].lists.flatten().tolist()) <= {*own, -1}
        assert set(scans[part].ranked.tolist()) == {len(own)}
        assert int(scans[part].ranks["fused"].max()) <= len(own)


def test_what_is_held_out_for_the_user_is_no_negative_among_new_items() -> None:
    """Among few new items, an item would often be compared with itself, with a margin of 0."""
    branches, held_out, _ = board(3)
    nothing = torch.tensor([], dtype=torch.int64)
    train = UserItems.from_pairs(nothing, nothing, USERS, ITEMS)
    scans = by_part(branches, held_out, train, "cold-items", k=K, negatives=50, seed=0)
    for part, items in held_out.items():
        found = scans[part]
        users = found.users[found.rows].unsqueeze(1)
        assert not items.contain(users, found.items[:, 1:]).any()


def test_a_user_who_has_all_new_items_keeps_a_place() -> None:
    pairs = torch.tensor([0, 0, 1]), torch.tensor([3, 4, 4])
    part = UserItems.from_pairs(*pairs, 2, 5)
    nothing = torch.tensor([], dtype=torch.int64)
    train = UserItems.from_pairs(nothing, nothing, 2, 5)
    branches = {"fused": Branch(torch.eye(2), torch.arange(10.0).view(5, 2))}
    found = by_part(branches, {TEST: part}, train, "cold-items", k=2, negatives=4, seed=0)[TEST]
    assert set(found.items[:2, 1:].flatten().tolist()) <= {3, 4}  # user 0 has both
    assert set(found.items[2, 1:].tolist()) == {3}


def test_a_part_without_pairs() -> None:
    branches, held_out, train = board(1)
    nothing = torch.tensor([], dtype=torch.int64)
    empty = UserItems.from_pairs(nothing, nothing, USERS, ITEMS)
    scans = by_part(branches, {**held_out, TEST: empty}, train, "random", k=K, negatives=2, seed=0)
    assert len(scans[TEST].users) == len(scans[TEST].items) == 0
    assert scans[TEST].lists.shape == (0, K)
