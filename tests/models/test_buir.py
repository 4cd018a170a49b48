"""BUIR against a slow, literal transcription; its momentum; its views."""

import torch
from literal import (
    ITEMS,
    TRAIN_ITEMS,
    TRAIN_USERS,
    USERS,
    assert_same,
    batch,
    random,
    small_data,
    spread,
    total_loss,
)
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.models.buir import BUIR

DATA = small_data()


def build(edge_dropout: float = 0.0) -> BUIR:
    model = BUIR(DATA, seed=0, dim=3, layers=2, momentum=0.9, edge_dropout=edge_dropout).double()
    spread(model)
    model.target_users.copy_(random(USERS, 3, seed=50))
    model.target_items.copy_(random(ITEMS, 3, seed=51))
    return model


def encoded(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """LightGCN with two layers, densely."""
    adjacency = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.float64)
    for u, i in zip(TRAIN_USERS.tolist(), TRAIN_ITEMS.tolist(), strict=True):
        adjacency[u, USERS + i] = adjacency[USERS + i, u] = 1
    degree = adjacency.sum(dim=1)
    root = torch.where(degree > 0, degree, 1).rsqrt()
    graph = root[:, None] * adjacency * root
    e = torch.cat([users, items])
    mean = (e + graph @ e + graph @ graph @ e) / 3
    return mean[:USERS], mean[USERS:]


def distance(predicted: Tensor, target: Tensor) -> Tensor:
    predicted = predicted / predicted.square().sum().sqrt()
    return (predicted - target / target.square().sum().sqrt()).square().sum()


def test_loss_and_gradient_by_the_letter() -> None:
    model = build()
    momentum = model.momentum
    targets = encoded(
        momentum * model.target_users + (1 - momentum) * model.users.detach(),
        momentum * model.target_items + (1 - momentum) * model.items.detach(),
    )
    users, items = encoded(model.users, model.items)
    total = []
    triples = batch(0)
    for u, i in zip(triples.users.tolist(), triples.positives.tolist(), strict=True):
        total.append(distance(model.predictor(users[u]), targets[1][i]))
        total[-1] = total[-1] + distance(model.predictor(items[i]), targets[0][u])
    assert_same(model, total_loss(model, triples), torch.stack(total).mean())


def test_scores_by_the_letter() -> None:
    model = build()
    with torch.no_grad():
        users, items = encoded(model.users, model.items)
        expected = model.predictor(users) @ items.T + users @ model.predictor(items).T
        scores = model.branches()[FUSED].scores(torch.arange(USERS))
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-6)


def test_the_target_follows_slowly_and_is_no_parameter() -> None:
    model = build()
    before, online = model.target_users.clone(), model.users.detach().clone()
    total_loss(model, batch(0))
    torch.testing.assert_close(model.target_users, 0.9 * before + 0.1 * online)
    assert not {"target_users", "target_items"} & set(dict(model.named_parameters()))
    assert {"target_users", "target_items"} <= set(model.state_dict())  # a resumed run needs them
    fresh = BUIR(DATA, seed=0, dim=3, layers=2, momentum=0.9, edge_dropout=0.0)
    total_loss(fresh, batch(0))
    assert torch.equal(fresh.target_users, fresh.users)


def test_each_encoder_has_a_view_of_its_own_in_training_alone() -> None:
    model = build(edge_dropout=0.5)
    before = model.branches()[FUSED].scores(torch.arange(USERS))
    losses = []
    for seed in (0, 1, 0):
        model.begin_epoch(torch.Generator().manual_seed(seed))
        online, target = (view.csr.to_dense() for view in model.views)
        assert not torch.equal(online, target)
        model.target_users.copy_(random(USERS, 3, seed=50))
        model.target_items.copy_(random(ITEMS, 3, seed=51))
        losses.append(total_loss(model, batch(0)).item())
    assert losses[0] == losses[2] != losses[1]
    assert torch.equal(model.branches()[FUSED].scores(torch.arange(USERS)), before)
