"""SMORE against a slow, literal transcription of its equations."""

import cmath
import math

import pytest
import torch
from by_the_letter import cosine_graph, literal_contrast, sigmoid_of, view
from six_by_five import (
    ITEMS,
    USERS,
    adjacency,
    affine,
    assert_equal_with_gradients,
    batch,
    data,
    in_double,
    literal_bpr,
    literal_l2,
    mean_of_layers,
    symmetrically_normalised,
)
from torch import Tensor, nn

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.models import registry
from brmrs.models.smore import SMORE


def build(dim: int, **values: float) -> SMORE:
    settings = {"contrast": 0.3, "temperature": 0.4, "regularization": 0.1, **values}
    model = registry.build(configure("smore", dim=dim, **settings), data(), seed=1)
    assert isinstance(model, SMORE)
    in_double(model)
    return model


def transformed(x: Tensor) -> list[Tensor]:
    """Entries 0 to d/2 of the discrete Fourier transform, by its definition."""
    d = len(x)
    waves = [[cmath.exp(-2j * math.pi * k * n / d) for n in range(d)] for k in range(d // 2 + 1)]
    return [(x * torch.tensor(wave)).sum() / math.sqrt(d) for wave in waves]


def back(spectrum: list[Tensor], d: int) -> Tensor:
    """The real vector with these entries 0 to d/2; the others are their conjugates."""
    entries = []
    for n in range(d):
        total = spectrum[0].real
        for k in range(1, len(spectrum)):
            wave = cmath.exp(2j * math.pi * k * n / d)
            pair = 1 if 2 * k == d else 2  # with the conjugate at d - k
            total = total + pair * (spectrum[k] * wave).real
        entries.append(total / math.sqrt(d))
    return torch.stack(entries)


def filtered(weights: Tensor, spectrum: list[Tensor], d: int) -> Tensor:
    pairs = zip(torch.view_as_complex(weights), spectrum, strict=True)
    return back([c * x for c, x in pairs], d)


def gated_items(model: SMORE) -> dict[str, Tensor]:
    """(I, d) of each modality and fused."""
    d = model.items.shape[1]
    rows: dict[str, list[Tensor]] = {TEXT: [], VISUAL: [], FUSED: []}
    for i in range(ITEMS):
        has = [m for m in (TEXT, VISUAL) if model.data.present[m][i]]
        spectra = {
            m: transformed(affine(model.projections[m], model.data.features[m][i])) for m in has
        }
        spectra[FUSED] = [math.prod(entries) for entries in zip(*spectra.values(), strict=True)]
        for m, of_item in rows.items():
            if m not in spectra:
                of_item.append(torch.zeros(d, dtype=torch.float64))
                continue
            x = filtered(model.filters[m], spectra[m], d)
            of_item.append(model.items[i] * sigmoid_of(model.gates[m], x))
    return {m: torch.stack(of_item) for m, of_item in rows.items()}


def literal_tables(model: SMORE) -> tuple[Tensor, Tensor]:
    """(U + I, d) E_id and E_s."""
    nodes = torch.cat([model.users, model.items])
    ids = mean_of_layers(symmetrically_normalised(adjacency()), nodes, model.layers)
    graphs = {m: cosine_graph(model.data, m) for m in (TEXT, VISUAL)}
    graphs[FUSED] = torch.maximum(graphs[TEXT], graphs[VISUAL])
    views = {m: view(graphs[m], items, 1) for m, items in gated_items(model).items()}
    rows = []
    for n in range(USERS + ITEMS):
        parts = [sigmoid_of(model.preferences[FUSED], ids[n]) * views[FUSED][n]]
        for m in (TEXT, VISUAL):
            query = model.queries[m]
            assert isinstance(query, nn.Sequential)
            last = query[2]
            assert isinstance(last, nn.Linear)
            logits = last.weight @ torch.tanh(affine(query[0], views[FUSED][n]))
            attention = torch.exp(logits) / torch.exp(logits).sum()
            parts.append(sigmoid_of(model.preferences[m], ids[n]) * attention * views[m][n])
        rows.append(torch.stack(parts).sum(dim=0) / 3)
    return ids, torch.stack(rows)


@pytest.mark.parametrize("dim", [4, 5])
def test_loss_gradient_and_scores_by_the_letter(dim: int) -> None:
    model = build(dim)
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


def test_preferences_are_dropped_in_training_only() -> None:
    model = build(4, dropout=0.5)
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    losses = [model.loss(batch(1), seed)["bpr"].item() for seed in seeds]
    assert losses[0] != losses[1]
    ids, side = literal_tables(model)
    torch.testing.assert_close(model.branches()[FUSED].p, (ids + side)[:USERS])
