"""BUIR against a slow, literal transcription; its momentum; its views."""

import torch
from six_by_five import (
    ITEMS,
    USERS,
    adjacency,
    assert_equal_with_gradients,
    batch,
    data,
    in_double,
    mean_of_layers,
    symmetrically_normalised,
)
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.models.buir import BUIR

DATA = data()


def build(edge_dropout: float = 0.0) -> BUIR:
    model = BUIR(
        DATA, BUIR.Config(dim=3, layers=2, momentum=0.9, edge_dropout=edge_dropout), seed=0
    )
    in_double(model)
    set_targets(model)
    return model


def set_targets(model: BUIR) -> None:
    generator = torch.Generator().manual_seed(50)
    model.target_users.copy_(torch.randn(USERS, 3, generator=generator))
    model.target_items.copy_(torch.randn(ITEMS, 3, generator=generator))


def total_loss(model: BUIR) -> Tensor:
    return torch.stack(list(model.loss(batch(0), torch.Generator()).values())).sum()


def encoded(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """LightGCN with two layers, densely."""
    graph = symmetrically_normalised(adjacency())
    mean = mean_of_layers(graph, torch.cat([users, items]), layers=2)
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
    found = {"total": total_loss(model)}
    assert_equal_with_gradients(model, found, {"total": torch.stack(total).mean()})


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
    total_loss(model)
    torch.testing.assert_close(model.target_users, 0.9 * before + 0.1 * online)
    assert not {"target_users", "target_items"} & set(dict(model.named_parameters()))
    assert {"target_users", "target_items"} <= set(model.state_dict())  # a resumed run needs them
    fresh = BUIR(DATA, BUIR.Config(dim=3, layers=2, momentum=0.9, edge_dropout=0.0), seed=0)
    total_loss(fresh)
    assert torch.equal(fresh.target_users, fresh.users)


def test_each_encoder_has_a_view_of_its_own_in_training_alone() -> None:
    model = build(edge_dropout=0.5)
    before = model.branches()[FUSED].scores(torch.arange(USERS))
    losses = []
    for seed in (0, 1, 0):
        model.begin_epoch(torch.Generator().manual_seed(seed))
        online, target = (view.csr.to_dense() for view in model.views)
        assert not torch.equal(online, target)
        set_targets(model)
        losses.append(total_loss(model).item())
    assert losses[0] == losses[2] != losses[1]
    assert torch.equal(model.branches()[FUSED].scores(torch.arange(USERS)), before)
