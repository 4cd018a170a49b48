"""What a recommender says beforehand that it takes, against what two steps of it take."""

import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from brmrs.columns import TEXT, VISUAL
from brmrs.config.models import section as section_of_model
from brmrs.graphs import bipartite
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.user_items import UserItems
from brmrs.models import registry
from brmrs.models.base import TrainingData
from brmrs.training.sampling import Sampler

USERS, ITEMS, DEGREE = 30_000, 10_000, 6
KILOBYTE, MEGABYTE = 2**10, 2**20
SLACK = 64 * MEGABYTE  # of libraries at their first use


def graph(nodes: int) -> SparseMatrix:
    """Ten random neighbours of each node."""
    columns = np.random.default_rng(0).integers(0, nodes, 10 * nodes)
    rows = np.repeat(np.arange(nodes), 10)
    matrix = sp.csr_matrix((np.full(len(rows), 0.1), (rows, columns)), shape=(nodes, nodes))
    return SparseMatrix.from_scipy(matrix)


def data() -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    users = torch.arange(USERS).repeat_interleave(DEGREE)
    items = (users * 7 + torch.arange(DEGREE).repeat(USERS) * 11) % ITEMS
    items = items.view(USERS, DEGREE).sort(dim=1).values.flatten()
    features = {m: torch.randn(ITEMS, 400, generator=generator) for m in (TEXT, VISUAL)}
    return TrainingData(
        users=USERS,
        items=ITEMS,
        train_users=users,
        train_items=items,
        user_item=bipartite.normalised(users, items, USERS, ITEMS),
        features=features,
        present={m: torch.ones(ITEMS, dtype=torch.bool) for m in features},
        item_graph=graph(ITEMS),
        user_graph=graph(USERS),
        modality_graphs={m: graph(ITEMS) for m in features},
    )


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE


def claimed_and_taken(name: str) -> tuple[int, int]:
    """Bytes; in a fresh process, whose peak is of this alone."""
    torch.set_num_threads(1)
    inputs, config = data(), section_of_model(name)()
    before = peak()
    claimed = registry.load(name).working_bytes(inputs, config)
    model = registry.build(config, inputs, seed=0)
    train = UserItems.from_pairs(inputs.train_users, inputs.train_items, USERS, ITEMS)
    batches = Sampler(train, model.n_negatives).epoch(2048, torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(0)
    model.begin_epoch(generator)
    for _ in range(2):
        optimiser.zero_grad()
        terms = model.loss(next(batches), generator)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        model.branches()
    return claimed, peak() - before


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in other units")
@pytest.mark.parametrize(
    "name",
    [
        "bm3",
        "br-mrs",
        "freedom",
        "lattice",
        "mmgcn",
        "grcn",
        "dualgnn",
        "ssc",
        "mgcn",
        "smore",
        "gume",
        "pgl",
    ],
)
def test_no_graph_model_takes_more_than_it_says(name: str) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        claimed, taken = pool.submit(claimed_and_taken, name).result()
    assert taken < claimed + SLACK
