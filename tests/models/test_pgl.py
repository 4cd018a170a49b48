"""PGL against a slow, literal transcription of its equations."""

from typing import Any

import torch
from by_the_letter import literal_info_nce
from six_by_five import (
    COSINES,
    EDGES,
    ITEMS,
    USERS,
    adjacency,
    affine,
    assert_equal_with_gradients,
    batch,
    data,
    in_double,
    literal_bpr,
    mean_of_layers,
    symmetrically_normalised,
    triples,
    unit,
)
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.models import registry
from brmrs.models.pgl import PGL


def build(**values: Any) -> PGL:
    settings = {"contrast": 0.3, "temperature": 0.4, "dropout": 0.25, "visual_weight": 0.3}
    model = registry.build(configure("pgl", dim=4, **settings, **values), data(), seed=1)
    assert isinstance(model, PGL)
    in_double(model)
    return model


def literal_nodes(model: PGL, edges: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """(U, 2 d) p and (I, 2 d) q."""
    s = torch.zeros(ITEMS, ITEMS, dtype=torch.float64)
    for m, weight in ((TEXT, 0.7), (VISUAL, 0.3)):
        near = torch.zeros(ITEMS, ITEMS, dtype=torch.float64)
        for i in range(ITEMS):
            found = [j for j in range(ITEMS) if COSINES[m][i][j] > 0]
            for j in (i, *found) if found else ():
                near[i, j] = 1
        s += weight * symmetrically_normalised(near)
    items = []
    for i in range(ITEMS):
        parts = []
        for m in (TEXT, VISUAL):
            x = unit(affine(model.projections[m], model.data.features[m][i]))
            parts.append(x if model.data.present[m][i] else torch.zeros_like(x))
        items.append(torch.cat(parts))
    x = torch.stack(items)
    users = torch.cat([model.users[TEXT], model.users[VISUAL]], dim=1)
    graph = symmetrically_normalised(adjacency(edges))
    e = mean_of_layers(graph, torch.cat([users, x]), model.layers)
    return e[:USERS], e[USERS:] + s @ x


def dropped(x: Tensor, generator: torch.Generator) -> Tensor:
    kept = torch.rand(x.shape, generator=generator) >= 0.25
    return torch.where(kept, x / 0.75, 0.0)


def test_loss_gradient_and_scores_by_the_letter() -> None:
    model = build(edge_dropout=0.0)
    p, q = literal_nodes(model, EDGES)
    drawn = torch.Generator().manual_seed(5)
    rows = (
        torch.stack([p[u] for u, _, _ in triples()]),
        torch.stack([q[i] for _, i, _ in triples()]),
    )
    pairs = [(dropped(x, drawn), dropped(x, drawn)) for x in rows]
    contrast = torch.stack([literal_info_nce(*pair, 0.4) for pair in pairs]).sum() / 2
    literal = {"bpr": literal_bpr(p, q), "contrast": 0.3 * contrast}
    found = model.loss(batch(1), torch.Generator().manual_seed(5))
    assert_equal_with_gradients(model, found, literal)
    scores = model.branches()[FUSED].scores(torch.arange(USERS))
    torch.testing.assert_close(scores, p @ q.T, atol=1e-5, rtol=1e-5)


def test_an_epoch_uses_its_own_sample_of_the_edges() -> None:
    model = build(edge_dropout=0.5)
    model.begin_epoch(torch.Generator().manual_seed(0))
    kept = [
        (u, i)
        for u in range(USERS)
        for i in range(ITEMS)
        if model.propagated_over.csr.to_dense()[u, i] > 0
    ]
    assert len(kept) == round(0.5 * len(EDGES))
    loss = model.loss(batch(1), torch.Generator())["bpr"]
    torch.testing.assert_close(loss, literal_bpr(*literal_nodes(model, kept)), atol=1e-6, rtol=1e-6)
    full = literal_nodes(model, EDGES)
    torch.testing.assert_close(model.branches()[FUSED].p, full[0], atol=1e-6, rtol=1e-6)
