"""MMGCN against a slow, literal transcription of its equations."""

import torch
from six_by_five import (
    ITEMS,
    TRIPLES,
    USERS,
    affine,
    assert_equal_with_gradients,
    data,
    in_double,
    leaky,
    literal_bpr,
    literal_l2,
    neighbours,
    unit,
)
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.config.models import configure
from brmrs.models import registry
from brmrs.models.mmgcn import MMGCN, _Channel, _Layer


def literal_channel(model: MMGCN, m: str) -> Tensor:
    """(U + I, d) last layer of a modality's graph, node by node."""
    channel, x, present = model.channels[m], model.data.features[m], model.data.present[m]
    assert isinstance(channel, _Channel)
    nodes = [unit(row) for row in model.preferences[m]]
    for i in range(ITEMS):
        projected = affine(model.projections[m], x[i])
        nodes.append(unit(projected) if present[i] else torch.zeros_like(projected))
    ids = torch.cat([model.users, model.items])
    for layer in channel.layers:
        assert isinstance(layer, _Layer)
        following = []
        for n in range(USERS + ITEMS):
            near = [layer.neighbour.T @ nodes[j] for j in neighbours(n)]
            mean = torch.stack(near).sum(dim=0) / len(near) if near else torch.zeros(4).double()
            combined = leaky(affine(layer.own, nodes[n])) + ids[n]
            following.append(leaky(affine(layer.aggregated, leaky(mean)) + combined))
        nodes = following
    return torch.stack(nodes)


def test_loss_gradient_and_branches_by_the_letter() -> None:
    model = registry.build(configure("mmgcn", dim=4, regularization=0.1), data(), seed=1)
    assert isinstance(model, MMGCN)
    in_double(model)
    last = {m: literal_channel(model, m) for m in model.modalities}
    last[FUSED] = torch.stack(list(last.values())).sum(dim=0)
    p, q = last[FUSED][:USERS], last[FUSED][USERS:]
    norms = literal_l2([model.users, *model.preferences.values()], [model.items])
    literal = {"bpr": literal_bpr(p, q), "l2": 0.1 * norms}
    assert_equal_with_gradients(model, model.loss(TRIPLES, torch.Generator()), literal)
    for name, branch in model.branches().items():
        both = torch.cat([branch.p, branch.q])
        torch.testing.assert_close(both, last[name], atol=1e-6, rtol=1e-6)
