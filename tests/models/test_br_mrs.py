"""BR-MRS against a slow, literal transcription of method/000."""

import dataclasses
from typing import Any

import pytest
import torch
from checkerboard import make_data
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.load import parse
from brmrs.config.models import configure
from brmrs.errors import UserError
from brmrs.models import registry
from brmrs.models.base import Batch, TrainingData
from brmrs.models.br_mrs import BRMRS

D = 4

TRIPLES = Batch(
    torch.tensor([0, 1, 2, 2, 4, 31]),
    torch.tensor([2, 3, 5, 8, 9, 5]),  # 5 has no modality, 8 and 9 no picture
    torch.tensor([[1, 3, 5], [8, 9, 5], [7, 5, 11], [3, 8, 1], [21, 23, 8], [0, 1, 2]]),
)


@pytest.fixture
def data() -> TrainingData:
    return make_data()


def in_double(data: TrainingData) -> TrainingData:
    features = {m: x.double() for m, x in data.features.items()}
    return dataclasses.replace(data, features=features)


def build(data: TrainingData, **values: Any) -> BRMRS:
    model = registry.build(configure("br-mrs", dim=D, pool=3, **values), data, seed=3)
    assert isinstance(model, BRMRS)
    model.features = {m: x.double() for m, x in model.features.items()}
    return model.double()


def literal_channels(model: BRMRS, data: TrainingData) -> dict[str, tuple[Tensor, ...]]:
    """Per modality p, q and the layer-0 embeddings, on dense graphs, channel by channel."""
    assert data.item_graph is not None
    assert data.user_graph is not None
    g_ii = data.item_graph.csr.to_dense().double()
    g_uu = data.user_graph.csr.to_dense().double()
    r = data.user_item.csr.to_dense().double()
    result: dict[str, tuple[Tensor, ...]] = {}
    for n, m in enumerate(model.modalities):
        columns = slice(n * D, (n + 1) * D)
        user_zero = model.users[:, columns]
        item_zero = torch.zeros(data.items, D, dtype=torch.float64)
        if m in model.projections:
            units = [x / max(x.norm().item(), 1e-9) for x in data.features[m]]
            item_zero = torch.stack([unit @ model.projections[m] for unit in units])
        if model.items is not None:
            item_zero = item_zero + model.items[:, columns]
        p, q = user_zero, item_zero
        for _ in range(model.user_layers):
            p = p + g_uu @ p
        for _ in range(model.item_layers):
            q = q + g_ii @ q
        layers_p, layers_q = [p], [q]
        for _ in range(model.layers):
            p, q = r @ q, r.T @ p
            layers_p.append(p)
            layers_q.append(q)
        p, q = (torch.stack(x).sum(0) / (model.layers + 1) for x in (layers_p, layers_q))
        result[m] = (p, q, user_zero, item_zero)
    return result


def phi(model: BRMRS, t: Tensor, v: Tensor) -> Tensor:
    assert model.fusion is not None
    if model.fusion.kind == "concat":
        return torch.cat([t, v])
    if model.fusion.kind == "mean":
        return 0.5 * t + 0.5 * v
    if model.fusion.kind == "bilinear":
        return torch.cat([t, v, (model.fusion.of_text.T @ t) * (model.fusion.of_visual.T @ v)])
    g = 1 / (1 + torch.exp(-(torch.cat([t, v]) @ model.fusion.weight + model.fusion.bias)))
    return g * t + (1 - g) * v


def minus_log_sigma(x: Tensor) -> Tensor:
    return torch.logaddexp(torch.zeros_like(x), -x)


def literal_loss(model: BRMRS, data: TrainingData, batch: Batch) -> Tensor:
    """lambda_h L_chns + lambda_s L_syn + L_bpr + lambda |Theta|^2, pair by pair."""
    channels = literal_channels(model, data)

    def s(m: str, u: int, i: int) -> Tensor:
        if m == FUSED:
            (p_t, q_t, *_), (p_v, q_v, *_) = channels[TEXT], channels[VISUAL]
            return (phi(model, p_t[u], p_v[u]) * phi(model, q_t[i], q_v[i])).sum()
        p, q, *_ = channels[m]
        return (p[u] * q[i]).sum()

    cross: dict[str, list[Tensor]] = {TEXT: [], VISUAL: []}
    synergy, plain, norms = [], [], []
    rows = zip(
        batch.users.tolist(), batch.positives.tolist(), batch.negatives.tolist(), strict=True
    )
    for u, positive, pool in rows:
        for own, other in ((TEXT, VISUAL), (VISUAL, TEXT)):
            eligible = [j for j in pool if data.present[other][j]]
            if eligible and data.present[own][positive]:
                _, hardest = max((s(other, u, j).item(), j) for j in eligible)
                cross[own].append(minus_log_sigma(s(own, u, positive) - s(own, u, hardest)))
        delta = {m: s(m, u, positive) - s(m, u, pool[0]) for m in (TEXT, VISUAL, FUSED)}
        pair = [positive, pool[0]]
        margins = [delta[m] for m in (TEXT, VISUAL) if data.present[m][pair].all()]
        settings = model.objective.settings
        for reference in [max(margins)] if margins else []:
            taken = reference.detach() if settings.detach_reference else reference
            synergy.append(minus_log_sigma(delta[FUSED] - taken - settings.theta))
        plain.append(minus_log_sigma(delta[FUSED]))
        for *_, user_zero, item_zero in channels.values():
            norms.append(user_zero[u].square().sum() / 2)
            norms.extend(item_zero[i].square().sum() / 2 for i in pair)
    weights, size = model.objective.settings, len(batch.users)
    assert model.fusion is not None
    norms += [size * dense.square().sum() / 2 for dense in model.fusion.parameters()]
    total: Tensor = model.regularization * torch.stack(norms).sum() / size
    for terms in cross.values():
        total = total + weights.chns * torch.stack(terms).sum() / len(terms)
    total = total + weights.synergy * torch.stack(synergy).sum() / len(synergy)
    return total + weights.bpr * torch.stack(plain).sum() / size


SETTINGS: list[dict[str, Any]] = [
    {},
    {"fusion": "mean", "theta": 0.5},
    {"fusion": "bilinear", "regularization": 0.1},
    {"fusion": "gate", "detach_reference": False, "theta": 0.1},
    {"detach_reference": False, "layers": 0, "item_layers": 2, "user_layers": 0},
    {"layers": 3, "item_layers": 0, "chns": 1.7, "synergy": 0.2, "bpr": 0.0},
    {"id_embeddings": False, "regularization": 0.3, "chns": 0.0},
    {"projected_features": False, "regularization": 0.3},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_loss_and_gradient_by_the_letter(data: TrainingData, settings: dict[str, Any]) -> None:
    data = in_double(data)
    model = build(data, **settings)
    with torch.no_grad():  # scores near 0 would hide an error in the sigmoids
        for parameter in model.parameters():
            parameter.mul_(5)
    total = torch.stack(list(model.loss(TRIPLES, torch.Generator()).values())).sum()
    expected = literal_loss(model, data, TRIPLES)
    torch.testing.assert_close(total, expected, atol=1e-6, rtol=1e-6)
    names, parameters = zip(*model.named_parameters(), strict=True)
    mine = torch.autograd.grad(total, parameters)
    theirs = torch.autograd.grad(expected, parameters)
    for name, a, b in zip(names, mine, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=1e-5), name


@pytest.mark.parametrize("fusion", ["concat", "mean", "gate", "bilinear"])
def test_branches_by_the_letter(data: TrainingData, fusion: str) -> None:
    data = in_double(data)
    model = build(data, fusion=fusion)
    branches, channels = model.branches(), literal_channels(model, data)
    for m in (TEXT, VISUAL):
        for mine, dense in zip((branches[m].p, branches[m].q), channels[m][:2], strict=True):
            torch.testing.assert_close(mine, dense, atol=1e-6, rtol=1e-6)
    for side, table in enumerate((branches[FUSED].p, branches[FUSED].q)):
        t, v = channels[TEXT][side], channels[VISUAL][side]
        fused = torch.stack([phi(model, *pair) for pair in zip(t, v, strict=True)])
        torch.testing.assert_close(table, fused, atol=1e-6, rtol=1e-6)


def test_terms_of_weight_zero_are_not_computed(data: TrainingData) -> None:
    model = build(in_double(data), chns=0.0, synergy=0.0)
    assert set(model.loss(TRIPLES, torch.Generator())) == {"bpr", "l2"}


@pytest.mark.parametrize("modality", [TEXT, VISUAL])
def test_one_modality_is_its_own_fusion_and_learns_by_bpr(modality: str) -> None:
    data = in_double(make_data((modality,)))
    model = build(data, bpr=0.0)
    branches, channels = model.branches(), literal_channels(model, data)
    assert set(branches) == {FUSED, modality}
    p, q, *_ = channels[modality]
    torch.testing.assert_close(branches[FUSED].p, p, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(branches[FUSED].q, q, atol=1e-6, rtol=1e-6)
    terms = model.loss(TRIPLES, torch.Generator())
    assert set(terms) == {"bpr", "l2"}
    margins = (p[TRIPLES.users] * (q[TRIPLES.positives] - q[TRIPLES.negatives[:, 0]])).sum(dim=1)
    torch.testing.assert_close(terms["bpr"], minus_log_sigma(margins).mean(), atol=1e-6, rtol=1e-6)


def test_an_objective_without_ranking_terms_is_refused() -> None:
    model = {"name": "br-mrs", "chns": 0, "synergy": 0, "bpr": 0}
    with pytest.raises(UserError, match="nothing is learned"):
        parse({"model": model}, source="x.yaml")


def test_features_of_absent_items_do_not_exist(data: TrainingData) -> None:
    """Without a free embedding and neighbours, an item without features is at the origin."""
    model = build(in_double(data), id_embeddings=False, item_layers=0, layers=0)
    branches = model.branches()
    assert not branches[TEXT].q[5].any()
    assert not branches[VISUAL].q[[5, 8, 9]].any()
    assert branches[VISUAL].q[0].any()


def test_edge_dropout_is_drawn_per_epoch_and_never_ranks(data: TrainingData) -> None:
    model = build(in_double(data), edge_dropout=0.8)
    before = model.branches()[FUSED].q

    def loss(seed: int) -> float:
        model.begin_epoch(torch.Generator().manual_seed(seed))
        return model.loss(TRIPLES, torch.Generator())["bpr"].item()

    values = [loss(seed) for seed in (0, 1, 0)]
    assert values[0] == values[2] != values[1]
    assert torch.equal(model.branches()[FUSED].q, before)


def literal_spectral(model: BRMRS, data: TrainingData, n: int, m: str) -> Tensor:
    """(U + I, d) the channel's mean over the layers of (A - mu I) / Delta, with dense matrices."""
    nodes = data.users + data.items
    a = torch.zeros(nodes, nodes, dtype=torch.float64)
    a[data.train_users, data.users + data.train_items] = 1
    a[data.users + data.train_items, data.train_users] = 1
    near = data.modality_graphs[m].csr.to_dense() > 0
    near |= torch.diag(near.any(dim=1))
    a[data.users :, data.users :] = (near | near.T).double()
    degrees = a.sum(1)
    root = torch.where(degrees > 0, degrees.rsqrt(), 0)
    graph = (root[:, None] * a * root - 0.1 * torch.eye(nodes)) / 0.8
    _, items = model._layer_zero()
    columns = slice(n * D, (n + 1) * D)
    layers = [torch.cat([model.users[:, columns], items[:, columns]])]
    for _ in range(model.layers):
        layers.append(graph @ layers[-1])
    return torch.stack(layers).mean(0)


def test_the_spectral_backbone_by_the_letter(data: TrainingData) -> None:
    model = build(data, backbone="ssc", shift=0.1, scale=0.8, layers=3)
    branches = model.branches()
    for n, m in enumerate((TEXT, VISUAL)):
        literal = literal_spectral(model, data, n, m)
        torch.testing.assert_close(branches[m].p, literal[: data.users], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(branches[m].q, literal[data.users :], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_the_spectral_backbone_trains_on_sampled_edges(data: TrainingData, fusion: str) -> None:
    model = registry.build(configure("br-mrs", dim=D, backbone="ssc", fusion=fusion), data, 0)
    assert isinstance(model, BRMRS)
    full = model.propagated_over
    model.begin_epoch(torch.Generator().manual_seed(0))
    assert model.propagated_over[0].csr.values().numel() < full[0].csr.values().numel()
    batch = dataclasses.replace(TRIPLES, negatives=TRIPLES.negatives[:, :2])
    terms = model.loss(batch, torch.Generator())
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert model.users.grad is not None
    assert model.users.grad.abs().sum() > 0


def test_the_spectral_backbone_needs_neighbours_of_each_modality(data: TrainingData) -> None:
    bare = dataclasses.replace(data, modality_graphs={TEXT: data.modality_graphs[TEXT]})
    with pytest.raises(UserError, match="nearest neighbours of the items by visual"):
        registry.build(configure("br-mrs", backbone="ssc"), bare, 0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"backbone": "ssc", "item_layers": 2}, "backbone is ssc"),
        ({"shift": 0.1}, "homogeneous"),
        ({"projected_features": False, "feature_dim": 8}, "projected_features is false"),
        ({"projected_features": False, "id_embeddings": False}, "items have no embeddings"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        configure("br-mrs", **values)
