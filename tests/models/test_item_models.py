"""Item-kNN, content-kNN, EASE and content-EASE against their dense formulas in numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from six_by_five import ITEMS, USERS
from six_by_five import data as small_data

from brmrs.columns import FUSED
from brmrs.config.models import configure
from brmrs.errors import UserError
from brmrs.graphs import bipartite
from brmrs.models import content_knn, item_knn, registry
from brmrs.models.base import TrainingData
from brmrs.models.content_ease import ContentEASE
from brmrs.models.content_knn import ContentKNN
from brmrs.models.ease import EASE
from brmrs.models.item_knn import ItemKNN

Floats = NDArray[np.float64]


def random_data(users: int, items: int, share: float) -> TrainingData:
    """The first user and the first item have nothing."""
    known = np.random.default_rng(0).random((users, items)) < share
    known[0] = False
    known[:, 0] = False
    u, i = (torch.from_numpy(ends) for ends in np.nonzero(known))
    return TrainingData(users, items, u, i, bipartite.normalised(u, i, users, items))


def dense(data: TrainingData) -> Floats:
    x = np.zeros((data.users, data.items))
    x[data.train_users.numpy(), data.train_items.numpy()] = 1
    return x


def literal_knn(x: Floats, k: int, shrink: float) -> Floats:
    """(U, I) scores, pair by pair."""
    n = x.shape[1]
    scores = np.zeros(x.shape)
    for i in range(n):
        likeness = {}
        for j in range(n):
            common = (x[:, i] * x[:, j]).sum()
            if i != j and common > 0:
                lengths = np.sqrt(x[:, i].sum() * x[:, j].sum())
                likeness[j] = common / (lengths + shrink)
        nearest = sorted(likeness, key=lambda j: (-likeness[j], j))[:k]
        scores[:, i] = sum(x[:, j] * likeness[j] for j in nearest)
    return scores


DATA = {"small": small_data(), "random": random_data(40, 30, 0.15)}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(("k", "shrink"), [(1, 0.0), (2, 0.0), (3, 10.0), (100, 1.5)])
def test_item_knn_by_the_letter(
    name: str, k: int, shrink: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DATA[name]
    monkeypatch.setattr(item_knn, "BLOCK_ROWS", 7)
    branch = ItemKNN(data, ItemKNN.Config(neighbours=k, shrink=shrink), seed=0).branches()[FUSED]
    users = torch.arange(data.users).flip(0)
    expected = literal_knn(dense(data), k, shrink)[::-1].copy()
    torch.testing.assert_close(branch.scores(users), torch.from_numpy(expected).float())
    assert branch.shape == (data.users, data.items)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("ridge", [0.5, 20.0])
def test_ease_by_the_letter(name: str, ridge: float) -> None:
    data = DATA[name]
    x = dense(data)
    p = np.linalg.inv(x.T @ x + ridge * np.eye(data.items))
    b = -p / np.diag(p)[None, :]
    np.fill_diagonal(b, 0)
    branch = EASE(data, EASE.Config(ridge=ridge), seed=0).branches()[FUSED]
    users = torch.tensor([data.users - 1, 0, 3, 3, 1])
    scores = torch.from_numpy((x @ b)[users.numpy()]).float()
    torch.testing.assert_close(branch.scores(users), scores, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        branch.similarities(2), torch.from_numpy(b[2]).float(), atol=1e-5, rtol=1e-4
    )


def test_ease_refuses_what_does_not_fit_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.zeros(1, dtype=torch.long)
    data = TrainingData(1, 63_001, one, one, bipartite.normalised(one, one, 1, 63_001))
    monkeypatch.setattr(registry, "free_memory", lambda device: 16 * 10**9)
    with pytest.raises(UserError, match=r"ease needs about 47\.6 GB .* 16\.0 GB are free") as error:
        registry.build(configure("ease"), data, seed=0)
    assert "\n" not in str(error.value)


def test_similarities_of_item_knn_are_what_it_adds_up() -> None:
    data = DATA["small"]
    branch = ItemKNN(data, ItemKNN.Config(neighbours=10, shrink=0.0), seed=0).branches()[FUSED]
    # user 2 has item 0 alone
    assert torch.equal(branch.similarities(0), branch.scores(torch.tensor([2]))[0])
    assert not branch.similarities(4).any()
    assert branch.similarities(0)[1] == pytest.approx(1 / np.sqrt(3 * 2))
    assert branch.shape == (USERS, ITEMS)


def test_a_ridge_too_small_is_refused_in_one_line() -> None:
    """Two items with the same users: singular without a ridge that float32 can hold."""
    pairs = torch.tensor([[u, i] for u in range(3000) for i in (0, 1)])
    u, i = pairs.T.contiguous()
    data = TrainingData(3000, 2, u, i, bipartite.normalised(u, i, 3000, 2))
    with pytest.raises(UserError, match=r"model\.ridge: 1e-12 is too small.*raise model\.ridge"):
        registry.build(configure("ease", ridge=1e-12), data, seed=0)
    registry.build(configure("ease", ridge=1.0), data, seed=0)


@pytest.mark.parametrize("k", [1, 2, 10])
def test_content_knn_by_the_letter(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Item 4 has no training interaction: it is scored, and is nobody's neighbour."""
    monkeypatch.setattr(content_knn, "BLOCK_SCORES", 8)  # two items at once
    data = small_data()
    unit = {m: [unit_length(row) for row in x.numpy()] for m, x in data.features.items()}
    bought, expected = sorted(set(data.train_items.tolist())), np.zeros((USERS, ITEMS))
    assert 4 not in bought
    for i in range(ITEMS):
        cosines = {j: sum(x[i] @ x[j] for x in unit.values()) / 2 for j in bought if j != i}
        for j in sorted(cosines, key=lambda j: -cosines[j])[:k]:
            expected[:, i] += dense(data)[:, j] * max(0, cosines[j])
    branch = ContentKNN(data, ContentKNN.Config(neighbours=k), seed=0).branches()[FUSED]
    assert branch.scores(torch.arange(USERS)).numpy() == pytest.approx(expected, abs=1e-6)
    assert expected[:, 4].any()


def unit_length(x: Floats) -> Floats:
    return x / np.linalg.norm(x) if x.any() else x


@pytest.mark.parametrize(("c", "d"), [(0.0, 0.0), (3.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_content_ease_by_the_letter(c: float, d: float) -> None:
    data = small_data()
    x = dense(data)
    n = 0.7 * data.modality_graphs["text"].csr.to_dense().double().numpy()
    n += 0.3 * data.modality_graphs["visual"].csr.to_dense().double().numpy()
    k = np.maximum(n, n.T).clip(0)
    degrees = k.sum(1)
    near = k / np.sqrt(degrees[:, None] * degrees)
    p = np.linalg.inv(x.T @ x + 2.0 * np.eye(ITEMS))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    expected = x @ (np.eye(ITEMS) + c * near) @ b @ (np.eye(ITEMS) + d * near)
    config = configure("content-ease", ridge=2.0, history=c, candidates=d, visual_weight=0.3)
    found = registry.build(config, data, seed=0).branches()[FUSED].scores(torch.arange(USERS))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_content_ease_without_steps_is_ease() -> None:
    data = small_data()
    without = configure("content-ease", ridge=2.0, history=0.0, candidates=0.0)
    one, other = (
        registry.build(config, data, seed=0).branches()[FUSED].scores(torch.arange(USERS))
        for config in (without, configure("ease", ridge=2.0))
    )
    assert torch.equal(one, other)
    assert isinstance(registry.build(without, data, seed=0), ContentEASE)


def test_content_ease_scores_a_new_item_by_its_neighbours() -> None:
    """Item 4 has no interactions; its nearest neighbours by text are items 2 and 3."""
    data = small_data()
    config = configure("content-ease", ridge=2.0, history=0.0, candidates=1.0)
    scores = registry.build(config, data, seed=0).branches()[FUSED].scores(torch.arange(USERS))
    assert scores[0, 4] != 0
    without = registry.build(configure("ease", ridge=2.0), data, seed=0).branches()[FUSED]
    assert without.scores(torch.tensor([0]))[0, 4] == 0
