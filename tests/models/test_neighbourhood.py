"""Steps on sampled neighbours against steps on the whole graph."""

import math

import torch
from torch import Tensor

from brmrs.graphs import bipartite
from brmrs.graphs.sampled import NodeGraph
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.lightgcn import LightGCN
from brmrs.models.neighbourhood import sampled_mean, sizes_of
from brmrs.models.propagation import lightgcn

USERS, ITEMS = 40, 30
ALL = (1000,)  # more than any node's neighbours


def data(sampled: tuple[int, ...] = ()) -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    ends = [torch.randint(0, size, (300,), generator=generator) for size in (USERS, ITEMS)]
    train = UserItems.from_pairs(*ends, USERS, ITEMS)
    graph = bipartite.normalised(train.users, train.items, USERS, ITEMS)
    return TrainingData(USERS, ITEMS, train.users, train.items, graph, sampled_neighbours=sampled)


def made(sampled: tuple[int, ...]) -> LightGCN:
    return LightGCN(data(sampled), LightGCN.Config(dim=4, layers=3, regularization=0.1), seed=0)


def batch(n: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int, below: int) -> Tensor:
        return torch.randint(0, below, shape, generator=generator)

    return Batch(drawn(12, below=USERS), drawn(12, below=ITEMS), drawn(12, n, below=ITEMS))


def stepped(model: Recommender) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The terms of a step, and the gradients by parameter."""
    generator = torch.Generator().manual_seed(2)
    terms = model.loss(batch(), generator)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    return terms, {name: each.grad for name, each in model.named_parameters()}


def test_all_neighbours_are_the_whole_graph() -> None:
    (terms, gradients), (whole, of_whole) = stepped(made(ALL)), stepped(made(()))
    for name, term in whole.items():
        torch.testing.assert_close(terms[name], term, rtol=1e-6, atol=1e-6)
    for name, gradient in of_whole.items():
        assert gradients[name].is_sparse
        torch.testing.assert_close(gradients[name].to_dense(), gradient, rtol=1e-6, atol=1e-6)


def test_only_the_rows_that_a_step_reads_have_a_gradient() -> None:
    _, gradients = stepped(made((1,)))
    rows = {name: len(each.coalesce().indices()[0]) for name, each in gradients.items()}
    assert rows["users"] < USERS
    used = torch.unique(batch().users)
    assert set(used.tolist()) <= set(gradients["users"].coalesce().indices()[0].tolist())


def test_propagated_rows_have_the_expectation_of_the_whole_graph() -> None:
    graph, repeats = data().user_item, 4000
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(USERS + ITEMS, 2, generator=generator)
    nodes = torch.tensor([0, 5, USERS + 3])
    drawn = []
    for _ in range(repeats):
        mean = sampled_mean(NodeGraph.user_item(graph), nodes, (2, 2), generator)
        drawn.append(mean(x[mean.nodes]))
    samples = torch.stack(drawn)
    whole = torch.cat(lightgcn(graph, x[:USERS], x[USERS:], 2))[nodes]
    bound = 4.5 * samples.std(dim=0) / math.sqrt(repeats)
    assert bool(((samples.mean(dim=0) - whole).abs() < bound).all())
    assert float(bound.max()) < 0.1 * float(whole.abs().max())


def test_a_seed_gives_the_same_gradients_with_any_number_of_threads() -> None:
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(stepped(made((2, 1)))[1])
    finally:
        torch.set_num_threads(threads)
    for name, gradient in found[0].items():
        assert torch.equal(gradient.to_dense(), found[1][name].to_dense())


def test_further_layers_use_the_last_number() -> None:
    assert sizes_of((15, 10), 0, 4) == [15, 10, 10, 10]
    assert sizes_of((15, 10, 5), 2, 2) == [5, 5]
    assert sizes_of((15,), 1, 0) == []
