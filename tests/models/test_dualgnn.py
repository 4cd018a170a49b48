"""DualGNN against a slow, literal transcription of its equations; the user graph by hand."""

import math

import pytest
import torch
from six_by_five import (
    EDGES,
    ITEMS,
    TRIPLES,
    USERS,
    adjacency,
    affine,
    assert_equal_with_gradients,
    data,
    in_double,
    leaky,
    literal_bpr,
    literal_l2,
    mean_of_layers,
    symmetrically_normalised,
    unit,
)
from torch import Tensor, nn

from brmrs.columns import FUSED
from brmrs.config.models import configure
from brmrs.graphs import co_occurrence
from brmrs.models import registry
from brmrs.models.dualgnn import DualGNN


def literal_single(model: DualGNN, m: str) -> Tensor:
    """(U + I, d) sum of the layers of one modality."""
    transform, x, present = model.transforms[m], model.data.features[m], model.data.present[m]
    assert isinstance(transform, nn.Sequential)
    nodes = [unit(row) for row in model.users[m]]
    for i in range(ITEMS):
        projected = affine(transform[2], leaky(affine(transform[0], x[i])))
        nodes.append(unit(projected) if present[i] else torch.zeros_like(projected))
    graph = symmetrically_normalised(adjacency())
    return (model.layers + 1) * mean_of_layers(graph, torch.stack(nodes), model.layers)


def literal_users(model: DualGNN, single: list[Tensor]) -> Tensor:
    """p_u: the modalities by the user's own weights, then two neighbours of the user graph."""
    mixed = []
    for u in range(USERS):
        weights = torch.exp(model.attention[u]) / torch.exp(model.attention[u]).sum()
        mixed.append(weights[0] * single[0][u] + weights[1] * single[1][u])
    items = {u: {i for v, i in EDGES if v == u} for u in range(USERS)}
    result = []
    for u in range(USERS):
        common = {v: len(items[u] & items[v]) for v in range(USERS) if v != u}
        near = sorted((v for v in common if common[v]), key=lambda v: (-common[v], v))[:2]
        total = sum(math.exp(common[v]) for v in near)
        shares = [math.exp(common[v]) / total * mixed[v] for v in near]
        result.append(torch.stack([mixed[u], *shares]).sum(dim=0))
    return torch.stack(result)


def test_loss_gradient_and_branches_by_the_letter() -> None:
    settings = configure("dualgnn", dim=4, layers=2, user_k=2, regularization=0.1)
    model = registry.build(settings, data(), seed=1)
    assert isinstance(model, DualGNN)
    in_double(model)
    single = {m: literal_single(model, m) for m in model.modalities}
    p = literal_users(model, list(single.values()))
    q = torch.stack(list(single.values())).sum(dim=0)[USERS:]
    norms = literal_l2([*model.users.values(), model.attention], [])
    literal = {"bpr": literal_bpr(p, q), "l2": 0.1 * norms}
    assert_equal_with_gradients(model, model.loss(TRIPLES, torch.Generator()), literal)
    found = {name: torch.cat([b.p, b.q]) for name, b in model.branches().items()}
    for name, expected in {**single, FUSED: torch.cat([p, q])}.items():
        torch.testing.assert_close(found[name], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("block", [1, 2**20])
def test_user_graph_by_hand(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users 0 and 1 have two items in common, 2 one with each, 3 nothing with anybody."""
    monkeypatch.setattr(co_occurrence, "BLOCK_BYTES", block)
    pairs = torch.tensor([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 1), (2, 3), (3, 4)])
    e = math.e

    def weights(k: int) -> list[list[float]]:
        graph = co_occurrence.user_graph(pairs[:, 0], pairs[:, 1], n_users=4, n_items=5, k=k)
        rows: list[list[float]] = graph.csr.to_dense().tolist()
        return rows

    nearer, further = e**2 / (e**2 + e), e / (e**2 + e)
    expected = [[0, nearer, further, 0], [nearer, 0, further, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0]]
    assert weights(2) == [pytest.approx(row) for row in expected]
    assert weights(1) == [[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
