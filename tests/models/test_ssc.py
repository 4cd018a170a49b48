"""SSC against a slow, literal transcription of its equations."""

import dataclasses
from typing import Any

import pytest
import scipy.sparse as sp
import torch
from six_by_five import (
    COSINES,
    ITEMS,
    USERS,
    adjacency,
    assert_equal_with_gradients,
    batch,
    data,
    in_double,
    literal_bpr,
    mean_of_layers,
    symmetrically_normalised,
)
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models import registry
from brmrs.models.base import TrainingData
from brmrs.models.ssc import SSC


def build(inputs: TrainingData, **values: Any) -> SSC:
    model = registry.build(configure("ssc", dim=4, **values), inputs, seed=1)
    assert isinstance(model, SSC)
    in_double(model)
    return model


def literal_nodes(model: SSC, weights: dict[str, float], shift: float, scale: float) -> Tensor:
    """(U + I, d) mean over the layers, with the matrix of the paper in full."""
    a = adjacency()
    for m, weight in weights.items():
        for i in range(ITEMS):
            for j in range(ITEMS):
                near = COSINES[m][i][j] > 0 or COSINES[m][j][i] > 0
                if near or (i == j and any(COSINES[m][i])):
                    a[USERS + i, USERS + j] += weight
    identity = torch.eye(USERS + ITEMS, dtype=torch.float64)
    graph: Tensor = (symmetrically_normalised(a) - shift * identity) / scale
    return mean_of_layers(graph, torch.cat([model.users, model.items]), model.layers)


@pytest.mark.parametrize("layers", [1, 3])
def test_loss_gradient_and_scores_by_the_letter(layers: int) -> None:
    settings = {"layers": layers, "visual_weight": 0.3, "shift": 0.1, "scale": 0.7}
    model = build(data(), regularization=0.1, **settings)
    e = literal_nodes(model, {TEXT: 0.7, VISUAL: 0.3}, shift=0.1, scale=0.7)
    norms = torch.stack([model.users.square().sum(), model.items.square().sum()]).sum()
    literal = {"bpr": literal_bpr(e[:USERS], e[USERS:]), "l2": 0.1 * norms / 2}
    assert_equal_with_gradients(model, model.loss(batch(1), torch.Generator()), literal)
    scores = model.branches()[FUSED].scores(torch.arange(USERS))
    torch.testing.assert_close(scores, e[:USERS] @ e[USERS:].T, atol=1e-5, rtol=1e-5)


def test_a_single_modality_has_the_whole_weight() -> None:
    inputs = data()
    graphs = {VISUAL: inputs.modality_graphs[VISUAL]}
    model = build(dataclasses.replace(inputs, modality_graphs=graphs))
    e = literal_nodes(model, {VISUAL: 1.0}, shift=0.05, scale=0.75)
    torch.testing.assert_close(model.branches()[FUSED].q, e[USERS:], atol=1e-6, rtol=1e-6)


def test_without_item_edges_and_shift_it_is_lightgcn() -> None:
    inputs = data()
    nothing = SparseMatrix.from_scipy(sp.csr_matrix((ITEMS, ITEMS)))
    bare = dataclasses.replace(inputs, modality_graphs={TEXT: nothing})
    models = [
        registry.build(configure("lightgcn", dim=4, layers=3), inputs, seed=1),
        registry.build(configure("ssc", dim=4, shift=0.0, scale=1.0), bare, seed=1),
    ]
    expected, found = (m.branches()[FUSED].scores(torch.arange(USERS)) for m in models)
    torch.testing.assert_close(found, expected)
