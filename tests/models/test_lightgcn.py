"""LightGCN: the propagation against dense matrix powers, the loss by the letter, edge dropout."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.graphs import bipartite
from brmrs.models.base import Batch, TrainingData
from brmrs.models.lightgcn import LightGCN
from brmrs.models.propagation import drop_edges, lightgcn

USERS, ITEMS = 6, 5
TRAIN_USERS = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3, 4])  # user 5 and item 4 have nothing
TRAIN_ITEMS = torch.tensor([0, 1, 1, 2, 0, 0, 2, 3, 3])


def dense_mean_of_layers(users: Tensor, items: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """1/(L+1) sum_l (D^-1/2 A D^-1/2)^l E on the dense (USERS + ITEMS)^2 adjacency."""
    adjacency = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.float64)
    for u, i in zip(TRAIN_USERS.tolist(), TRAIN_ITEMS.tolist(), strict=True):
        adjacency[u, USERS + i] = adjacency[USERS + i, u] = 1
    degrees = adjacency.sum(dim=1).tolist()
    root = torch.diag(torch.tensor([1 / math.sqrt(d) if d else 0 for d in degrees]).double())
    normalised = root @ adjacency @ root
    e = torch.cat([users, items]).double()
    powers = [torch.linalg.matrix_power(normalised, layer) @ e for layer in range(layers + 1)]
    mean = torch.stack(powers).sum(dim=0) / (layers + 1)
    return mean[:USERS], mean[USERS:]


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_propagation_and_its_gradient_equal_dense_powers(layers: int) -> None:
    graph = bipartite.normalised(TRAIN_USERS, TRAIN_ITEMS, USERS, ITEMS)
    users, items = random(USERS, 4, seed=0), random(ITEMS, 4, seed=1)
    upstream = random(USERS, 4, seed=2).detach(), random(ITEMS, 4, seed=3).detach()
    gradients = []
    for p, q in (
        lightgcn(graph, users, items, layers),
        dense_mean_of_layers(users, items, layers),
    ):
        loss = (p * upstream[0]).sum() + (q * upstream[1]).sum()
        gradients.append((p, q, *torch.autograd.grad(loss, (users, items))))
    for mine, dense in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, dense, atol=1e-6, rtol=1e-6)


def test_propagation_of_one_side_alone_has_a_gradient() -> None:
    graph = bipartite.normalised(TRAIN_USERS, TRAIN_ITEMS, USERS, ITEMS)
    users, items = random(USERS, 4, seed=0), random(ITEMS, 4, seed=1)
    p, _ = lightgcn(graph, users, items, 2)
    p.square().sum().backward()  # type: ignore[no-untyped-call]
    assert users.grad is not None
    assert users.grad.any()


def test_loss_and_gradient_by_the_letter() -> None:
    graph = bipartite.normalised(TRAIN_USERS, TRAIN_ITEMS, USERS, ITEMS)
    data = TrainingData(USERS, ITEMS, TRAIN_USERS, TRAIN_ITEMS, graph)
    model = LightGCN(data, LightGCN.Config(dim=3, layers=2, regularization=0.1), seed=0).double()
    triples = [(0, 0, 2), (1, 1, 3), (3, 2, 4), (3, 3, 1), (5, 4, 0)]
    u, positive, negative = (torch.tensor(column) for column in zip(*triples, strict=True))
    terms = model.loss(Batch(u, positive, negative.unsqueeze(1)), torch.Generator())
    p, q = dense_mean_of_layers(model.users, model.items, 2)
    ranking, norms = [], []
    for user, i, j in triples:
        margin = (p[user] * q[i]).sum() - (p[user] * q[j]).sum()
        ranking.append(-torch.log(1 / (1 + torch.exp(-margin))))
        rows = model.users[user], model.items[i], model.items[j]
        norms.append(torch.stack([row.square().sum() for row in rows]).sum() / 2)
    literal = torch.stack(ranking).mean() + 0.1 * torch.stack(norms).mean()
    total = terms["bpr"] + terms["l2"]
    torch.testing.assert_close(total, literal, atol=1e-6, rtol=1e-6)
    parameters = [model.users, model.items]
    for mine, expected in zip(
        torch.autograd.grad(total, parameters),
        torch.autograd.grad(literal, parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-6)


def test_branches_do_not_depend_on_the_batch() -> None:
    graph = bipartite.normalised(TRAIN_USERS, TRAIN_ITEMS, USERS, ITEMS)
    data = TrainingData(USERS, ITEMS, TRAIN_USERS, TRAIN_ITEMS, graph)
    model = LightGCN(data, LightGCN.Config(dim=3, layers=2, regularization=0.1), seed=0)
    p, q = dense_mean_of_layers(model.users, model.items, 2)
    branch = model.branches()[FUSED]
    torch.testing.assert_close(branch.p.double(), p, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(branch.q.double(), q, atol=1e-6, rtol=1e-6)


def kept_edges(rate: float, seed: int) -> list[tuple[int, int]]:
    generator = torch.Generator().manual_seed(seed)
    graph = drop_edges(TRAIN_USERS, TRAIN_ITEMS, (USERS, ITEMS), rate, generator)
    return [(u, i) for u, i in graph.csr.to_dense().nonzero().tolist()]


def test_edge_dropout_keeps_its_share_and_renormalises() -> None:
    generator = torch.Generator().manual_seed(0)
    graph = drop_edges(TRAIN_USERS, TRAIN_ITEMS, (USERS, ITEMS), 0.5, generator).csr.to_dense()
    kept = graph.nonzero()
    assert len(kept) == round(0.5 * len(TRAIN_USERS))
    again = bipartite.normalised(kept[:, 0], kept[:, 1], USERS, ITEMS)
    assert torch.equal(graph, again.csr.to_dense())
    known = set(zip(TRAIN_USERS.tolist(), TRAIN_ITEMS.tolist(), strict=True))
    assert set(kept_edges(0.5, 0)) <= known
    assert len(kept_edges(0.99, 0)) == 1  # never an empty graph


def test_edge_dropout_follows_its_generator_and_the_degrees() -> None:
    assert kept_edges(0.5, 3) == kept_edges(0.5, 3)
    drawn = [kept_edges(8 / 9, seed) for seed in range(3000)]
    counts = Counter(edge for (edge,) in drawn)
    user_degree = Counter(TRAIN_USERS.tolist())
    item_degree = Counter(TRAIN_ITEMS.tolist())
    weights = {
        (u, i): 1 / math.sqrt(user_degree[u] * item_degree[i])
        for u, i in zip(TRAIN_USERS.tolist(), TRAIN_ITEMS.tolist(), strict=True)
    }
    total = sum(weights.values())
    for edge, weight in weights.items():
        share = weight / total
        deviation = math.sqrt(share * (1 - share) / len(drawn))
        assert abs(counts[edge] / len(drawn) - share) < 4 * deviation
