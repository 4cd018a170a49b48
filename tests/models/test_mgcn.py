"""MGCN against a slow, literal transcription of its equations."""

import torch
from by_the_letter import cosine_graph, fused, literal_contrast, purified, view
from six_by_five import (
    USERS,
    adjacency,
    assert_equal_with_gradients,
    batch,
    data,
    in_double,
    literal_bpr,
    literal_l2,
    mean_of_layers,
    symmetrically_normalised,
)
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.models import registry
from brmrs.models.mgcn import MGCN


def build() -> MGCN:
    settings = {"contrast": 0.3, "temperature": 0.4, "regularization": 0.1, "item_layers": 2}
    model = registry.build(configure("mgcn", dim=4, **settings), data(), seed=1)
    assert isinstance(model, MGCN)
    in_double(model)
    return model


def literal_tables(model: MGCN) -> tuple[Tensor, Tensor]:
    """(U + I, d) E_id and E_s."""
    nodes = torch.cat([model.users, model.items])
    ids = mean_of_layers(symmetrically_normalised(adjacency()), nodes, model.layers)
    views = {}
    for m in (TEXT, VISUAL):
        items = purified(model.data, m, model.items, model.projections[m], model.gates[m])
        views[m] = view(cosine_graph(model.data, m), items, model.item_layers)
    return ids, fused(model.fuser, views, ids)


def test_loss_gradient_and_scores_by_the_letter() -> None:
    model = build()
    ids, side = literal_tables(model)
    p, q = (ids + side)[:USERS], (ids + side)[USERS:]
    literal = {
        "bpr": literal_bpr(p, q),
        "contrast": 0.3 * literal_contrast(side, ids, 0.4),
        "l2": 0.1 * literal_l2([p], [q]),
    }
    assert_equal_with_gradients(model, model.loss(batch(1), torch.Generator()), literal)
    scores = model.branches()[FUSED].scores(torch.arange(USERS))
    torch.testing.assert_close(scores, p @ q.T, atol=1e-5, rtol=1e-5)
