"""Steps on sampled neighbours against steps on the whole graph."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from checkerboard import ITEMS, USERS, make_data
from torch import Tensor

from brmrs.config.models import configure
from brmrs.errors import UserError
from brmrs.graphs.sampled import NodeGraph
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models import registry
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.neighbourhood import sampled_mean, sampled_smoothing, sizes_of, split_nodes
from brmrs.models.propagation import lightgcn

ALL = (1000,)  # more than any node's neighbours
JOBS: dict[str, dict[str, Any]] = {
    "lightgcn": {"name": "lightgcn", "layers": 3},
    "br-mrs": {"name": "br-mrs", "layers": 2, "user_layers": 1, "item_layers": 2},
    "br-mrs, no dropout": {"name": "br-mrs", "edge_dropout": 0.0, "user_layers": 0},
    "br-mrs, attention": {"name": "br-mrs", "fusion": "attention"},
    "br-mrs, joint": {"name": "br-mrs", "fusion": "joint"},
    "freedom": {"name": "freedom", "item_layers": 2},
    "freedom, objective": {"name": "freedom", "objective": {"chns": 0.3, "synergy": 0.3}},
    "br-mrs, no ids": {"name": "br-mrs", "id_embeddings": False, "layers": 0},
    "br-mrs, no features": {"name": "br-mrs", "projected_features": False},
}


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return make_data()


def made(data: TrainingData, job: str, sampled: tuple[int, ...]) -> Recommender:
    settings = configure(**{"dim": 4, **JOBS[job]})
    return registry.build(settings, replace(data, sampled_neighbours=sampled), seed=0)


def batch(n: int) -> Batch:
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int, below: int) -> Tensor:
        return torch.randint(0, below, shape, generator=generator)

    return Batch(drawn(4, below=USERS), drawn(4, below=ITEMS), drawn(4, n, below=ITEMS))


def stepped(model: Recommender) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The terms of a step, and the gradients by parameter."""
    generator = torch.Generator().manual_seed(2)
    model.begin_epoch(generator)
    terms = model.loss(batch(model.n_negatives), generator)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    gradients = {name: each.grad for name, each in model.named_parameters()}
    return terms, {name: each for name, each in gradients.items() if each is not None}


@pytest.mark.parametrize("job", JOBS)
def test_all_neighbours_are_the_whole_graph(data: TrainingData, job: str) -> None:
    sampled = made(data, job, ALL)
    (terms, gradients), (whole, of_whole) = stepped(sampled), stepped(made(data, job, ()))
    assert terms.keys() == whole.keys()
    assert gradients.keys() == of_whole.keys()
    for name, term in whole.items():
        torch.testing.assert_close(terms[name], term, rtol=1e-6, atol=1e-6)
    for name, gradient in of_whole.items():
        torch.testing.assert_close(gradients[name].to_dense(), gradient, rtol=1e-6, atol=1e-6)
    sparse = {id(parameter) for parameter in sampled.by_row()}
    for name, parameter in sampled.named_parameters():
        assert gradients[name].is_sparse == (id(parameter) in sparse)


@pytest.mark.parametrize("job", JOBS)
def test_validation_uses_the_whole_graph(data: TrainingData, job: str) -> None:
    branches, whole = (made(data, job, sampled).branches() for sampled in ((1,), ()))
    for name, branch in whole.items():
        assert torch.equal(branches[name].scores(torch.arange(3)), branch.scores(torch.arange(3)))


@pytest.mark.parametrize("job", ["lightgcn", "br-mrs", "freedom"])
def test_only_the_rows_that_a_step_reads_have_a_gradient(data: TrainingData, job: str) -> None:
    _, gradients = stepped(made(data, job, (1,)))
    rows = set(gradients["users"].coalesce().indices()[0].tolist())
    assert set(batch(1).users.tolist()) <= rows
    assert len(rows) < USERS


def copies(graph: SparseMatrix, count: int = 2000) -> SparseMatrix:
    """The graph so many times, without edges between the copies: one draw is many."""
    csr = graph.csr
    parts = csr.values(), csr.col_indices(), csr.crow_indices()
    whole = sp.csr_matrix(tuple(map(np.asarray, parts)), shape=graph.shape)
    return SparseMatrix.from_scipy(sp.kron(sp.identity(count), whole))


def has_the_mean(drawn: Tensor, expected: Tensor) -> None:
    """The mean of (R, n, d) draws is the expected (n, d), within 4.5 standard errors."""
    bound = 4.5 * drawn.std(dim=0) / math.sqrt(len(drawn))
    assert bool(((drawn.mean(dim=0) - expected).abs() < bound).all())
    assert float(bound.max()) < 0.1 * float(expected.abs().max())


def test_propagated_rows_have_the_expectation_of_the_whole_graph(data: TrainingData) -> None:
    many = copies(data.user_item)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(USERS + ITEMS, 2, generator=generator)
    count = len(many.csr) // USERS
    users = torch.arange(count) * USERS + 3
    items = torch.arange(count) * ITEMS + 5 + count * USERS
    graph = NodeGraph.user_item(many)
    mean = sampled_mean(graph, torch.cat([users, items]), (3, 2), generator)
    read = split_nodes(mean.nodes, graph.users)
    e = mean(torch.cat([x[read[0] % USERS], x[USERS + read[1] % ITEMS]]))
    whole = torch.cat(lightgcn(data.user_item, x[:USERS], x[USERS:], 2))
    drawn = torch.stack(torch.split(e, count), dim=1)  # (copies, 2 nodes, 2 columns)
    has_the_mean(drawn, whole[[3, USERS + 5]])


def test_smoothed_rows_have_the_expectation_of_the_whole_graph(data: TrainingData) -> None:
    assert data.item_graph is not None
    many = copies(data.item_graph)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(ITEMS, 2, generator=generator)
    items = torch.arange(len(many.csr) // ITEMS) * ITEMS + 7
    nodes = torch.cat([torch.tensor([3]), USERS + items])
    graphs = [NodeGraph(USERS, None, many.csr, bipartite=False)] * 2
    smoothing = sampled_smoothing(graphs, nodes, (2, 1), generator)
    read = x[(smoothing.nodes - USERS) % ITEMS]
    assert torch.equal(smoothing.own(read)[1:], x[[7] * len(items)])
    drawn = smoothing(read)
    assert torch.equal(drawn[0], x[(3 - USERS) % ITEMS])  # users have no neighbours here
    whole = x + data.item_graph @ x
    whole = whole + data.item_graph @ whole
    has_the_mean(drawn[1:].unsqueeze(1), whole[[7]])


@pytest.mark.parametrize("job", ["lightgcn", "br-mrs", "freedom"])
def test_a_seed_gives_the_same_gradients_with_any_number_of_threads(
    data: TrainingData, job: str
) -> None:
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(stepped(made(data, job, (2, 1)))[1])
    finally:
        torch.set_num_threads(threads)
    for name, gradient in found[0].items():
        assert torch.equal(gradient.to_dense(), found[1][name].to_dense())


def test_further_layers_use_the_last_number() -> None:
    assert sizes_of((15, 10), 0, 4) == [15, 10, 10, 10]
    assert sizes_of((15, 10, 5), 2, 2) == [5, 5]
    assert sizes_of((15,), 1, 0) == []


def test_what_cannot_sample_is_refused(data: TrainingData) -> None:
    sampled = replace(data, sampled_neighbours=(3,))
    with pytest.raises(UserError, match=r"^model bpr-mf uses the whole graph in each step"):
        registry.build(configure("bpr-mf"), sampled, seed=0)
    with pytest.raises(UserError, match=r"^model br-mrs backbone=ssc uses the whole graph"):
        registry.build(configure("br-mrs", backbone="ssc"), sampled, seed=0)
