"""FREEDOM against a slow, literal transcription of its equations."""

import dataclasses
from typing import Any

import pytest
import torch
from six_by_five import (
    COSINES,
    ITEMS,
    TRIPLES,
    USERS,
    adjacency,
    assert_equal_with_gradients,
    data,
    in_double,
    literal_bpr,
    mean_of_layers,
    minus_log_sigma,
    symmetrically_normalised,
    triples,
)
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.errors import UserError
from brmrs.models import registry
from brmrs.models.freedom import FREEDOM


def build(**values: Any) -> FREEDOM:
    model = registry.build(configure("freedom", dim=4, **values), data(), seed=1)
    assert isinstance(model, FREEDOM)
    in_double(model)
    return model


def literal_items(model: FREEDOM) -> dict[str, Tensor]:
    """h^m of each modality, and h of the mixture."""
    frozen = {}
    for m, cosines in COSINES.items():
        s = torch.zeros(ITEMS, ITEMS, dtype=torch.float64)
        for i in range(ITEMS):
            near = [j for j in range(ITEMS) if cosines[i][j] > 0]
            for j in (i, *near) if near else ():
                s[i, j] = 1
        frozen[m] = symmetrically_normalised(s)
    frozen[FUSED] = 0.7 * frozen[TEXT] + 0.3 * frozen[VISUAL]
    power = torch.linalg.matrix_power
    return {b: power(s, model.item_layers) @ model.items for b, s in frozen.items()}


def literal_branches(model: FREEDOM) -> dict[str, tuple[Tensor, Tensor]]:
    graph = symmetrically_normalised(adjacency())
    e = mean_of_layers(graph, torch.cat([model.users, model.items]), model.layers)
    h = literal_items(model)
    h[FUSED] = e[USERS:] + h[FUSED]
    return {b: (e[:USERS], q) for b, q in h.items()}


def literal_feature_loss(model: FREEDOM, m: str) -> Tensor:
    terms, x = [], model.data.features[m]
    p, _ = literal_branches(model)[FUSED]
    w = model.projections[m].T
    for u, i, j in triples():
        if m == VISUAL and 4 in (i, j):
            continue  # item 4 has no picture
        s_i, s_j = ((p[u] * (w @ x[k])).sum() for k in (i, j))
        terms.append(minus_log_sigma(s_i - s_j))
    return torch.stack(terms).sum() / len(terms)


@pytest.mark.parametrize(("layers", "item_layers"), [(2, 1), (1, 2)])
def test_loss_and_gradient_by_the_letter(layers: int, item_layers: int) -> None:
    settings = {"layers": layers, "item_layers": item_layers, "visual_weight": 0.3}
    model = build(feature_loss=0.1, **settings)
    literal = {"bpr": literal_bpr(*literal_branches(model)[FUSED])}
    for m in (TEXT, VISUAL):
        literal[f"feature_{m}"] = 0.1 * literal_feature_loss(model, m)
    assert_equal_with_gradients(model, model.loss(TRIPLES, torch.Generator()), literal)


def test_branches_by_the_letter() -> None:
    model = build(visual_weight=0.3)
    literal = literal_branches(model)
    for name, branch in model.branches().items():
        for mine, expected in zip((branch.p, branch.q), literal[name], strict=True):
            torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-6)
    # s_f = <p, q> + sum_m a_m s_m
    p, q = literal[FUSED]
    e = q - 0.7 * literal[TEXT][1] - 0.3 * literal[VISUAL][1]
    s = {b: model.branches()[b].scores(torch.arange(USERS)) for b in literal}
    expected = p @ e.T + 0.7 * s[TEXT] + 0.3 * s[VISUAL]
    torch.testing.assert_close(s[FUSED], expected, atol=1e-5, rtol=1e-5)


def test_training_sees_a_sample_of_the_edges_and_ranking_all() -> None:
    model = build(edge_dropout=0.5, feature_loss=0.0)
    before = model.branches()[FUSED].q
    model.begin_epoch(torch.Generator().manual_seed(0))
    assert len(model.propagated_over.csr.values()) == round(0.5 * len(model.data.train_users))
    assert torch.equal(model.branches()[FUSED].q, before)


def test_without_the_feature_loss_features_are_not_needed() -> None:
    bare = dataclasses.replace(data(), features={}, present={})
    registry.build(configure("freedom", feature_loss=0.0), bare, seed=0)
    with pytest.raises(UserError, match=r"set model\.feature_loss=0"):
        registry.build(configure("freedom", feature_loss=0.1), bare, seed=0)
