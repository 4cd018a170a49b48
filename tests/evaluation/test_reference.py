"""The metrics against ir-measures (trec_eval by pytrec-eval), on random data.

Definitions that differ are named here and in docs/benchmark.md: trec_eval's MAP@K divides by the
number of held-out items, ours by min(that number, K). Its reciprocal rank has no cut-off. It breaks
ties by name, so the scores here have none.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

ir_measures = pytest.importorskip("ir_measures", reason="ir-measures is not installed")
pytest.importorskip("pytrec_eval", reason="pytrec-eval is not installed")

from brmrs.evaluation.metrics import evaluated, measure  # noqa: E402
from brmrs.graphs.user_items import UserItems  # noqa: E402
from brmrs.models.base import Branch  # noqa: E402

USERS, ITEMS = 60, 80
CUT_OFFS = (1, 5, 20)
OURS: dict[str, Callable[[int], object]] = {
    "recall": lambda k: ir_measures.R @ k,
    "precision": lambda k: ir_measures.P @ k,
    "ndcg": lambda k: ir_measures.nDCG @ k,
    "mrr": lambda k: ir_measures.RR,  # without a cut-off; cut below
    "hit_rate": lambda k: ir_measures.Success @ k,
    "map": lambda k: ir_measures.AP @ k,
}

Judged = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def board() -> tuple[torch.Tensor, UserItems, UserItems]:
    """Scores without ties, training items, and 1 to 30 held-out items of each user."""
    rng = np.random.default_rng(7)
    scores = np.stack([rng.permutation(ITEMS) for _ in range(USERS)]).astype(np.float32)
    train, held_out = [], []
    for user in range(USERS):
        items = rng.permutation(ITEMS)
        n = 1 if user < 10 else int(rng.integers(1, 31))  # more than the largest K, too
        held_out += [(user, int(item)) for item in items[:n]]
        train += [(user, int(item)) for item in items[n : n + 10]]
        scores[user, items[:n]] += ITEMS * rng.random(n)  # some hits in every list
    assert all(len(np.unique(row)) == ITEMS for row in scores)
    return torch.from_numpy(scores), _items(train), _items(held_out)


def _items(pairs: list[tuple[int, int]]) -> UserItems:
    users, items = torch.tensor(pairs).T
    return UserItems.from_pairs(users, items, USERS, ITEMS)


@pytest.fixture(scope="module")
def reference(
    board: tuple[torch.Tensor, UserItems, UserItems],
) -> dict[tuple[str, int, int], float]:
    """By metric, K and user, the values of ir-measures."""
    scores, train, held_out = board
    qrels: Judged = {str(user): {} for user in range(USERS)}
    for user, item in zip(held_out.users.tolist(), held_out.items.tolist(), strict=True):
        qrels[str(user)][str(item)] = 1
    run: dict[str, dict[str, float]] = {}
    for user in range(USERS):
        masked = set(train.items[train.users == user].tolist())
        free = [item for item in range(ITEMS) if item not in masked]
        run[str(user)] = {str(item): float(scores[user, item]) for item in free}
    wanted = {(name, k): of(k) for name, of in OURS.items() for k in CUT_OFFS}
    evaluator = ir_measures.pytrec_eval.evaluator(list(set(wanted.values())), qrels)
    values = {(each.measure, each.query_id): each.value for each in evaluator.iter_calc(run)}
    return {
        (*key, user): values[measure, str(user)]
        for key, measure in wanted.items()
        for user in range(USERS)
    }


@pytest.mark.parametrize("name", OURS)
def test_equal_to_trec_eval(
    board: tuple[torch.Tensor, UserItems, UserItems],
    reference: dict[tuple[str, int, int], float],
    name: str,
) -> None:
    scores, train, held_out = board
    found = measure(Branch(torch.eye(USERS), scores.T), held_out, train, CUT_OFFS)
    for k in CUT_OFFS:
        expected = np.array([reference[name, k, user] for user in evaluated(held_out).tolist()])
        if name == "map":  # the number of held-out items there, at most K here
            relevant = held_out.counts.numpy()
            expected = expected * relevant / np.minimum(relevant, k)
        if name == "mrr":
            expected = np.where(expected >= 1 / k, expected, 0)
        assert 0 < expected.mean() <= 1
        np.testing.assert_allclose(found[f"{name}@{k}"].numpy(), expected, rtol=0, atol=1e-9)
