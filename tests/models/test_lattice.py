"""LATTICE against a slow, literal transcription of its equations."""

from typing import Any

import pytest
import torch
from six_by_five import (
    COSINES,
    ITEMS,
    TRIPLES,
    USERS,
    adjacency,
    affine,
    assert_equal_with_gradients,
    data,
    in_double,
    literal_bpr,
    literal_l2,
    mean_of_layers,
    symmetrically_normalised,
    unit,
)
from torch import Tensor, nn

from brmrs.columns import FUSED
from brmrs.config.models import configure
from brmrs.graphs import modality
from brmrs.models import registry
from brmrs.models.lattice import LATTICE


def build(**values: Any) -> LATTICE:
    settings = {"dim": 4, "k": 2, "initial_weight": 0.7, "regularization": 0.1, **values}
    model = registry.build(configure("lattice", **settings), data(), seed=1)
    assert isinstance(model, LATTICE)
    in_double(model)
    return model


def literal_graphs(model: LATTICE) -> dict[str, Tensor]:
    """A_m and A."""
    result = {}
    for m, cosines in COSINES.items():
        present = [i for i in range(ITEMS) if model.data.present[m][i]]
        initial = torch.tensor(cosines).double()
        learned = torch.zeros(ITEMS, ITEMS, dtype=torch.float64)
        x = {i: affine(model.transforms[m], model.data.features[m][i]) for i in present}
        for i in present:
            initial[i, i] = 1
            cosine = {j: (unit(x[i]) * unit(x[j])).sum() for j in present}
            for j in sorted(present, key=lambda j: -cosine[j].item())[: model.k + 1]:
                if cosine[j] > 0:
                    learned[i, j] = cosine[j]
        weight = model.initial_weight
        learned = (1 - weight) * symmetrically_normalised(learned)
        result[m] = weight * symmetrically_normalised(initial) + learned
    shares = torch.exp(model.modality_weights) / torch.exp(model.modality_weights).sum()
    mixed = [share * graph for share, graph in zip(shares, result.values(), strict=True)]
    return {**result, FUSED: torch.stack(mixed).sum(dim=0)}


def literal_branches(model: LATTICE) -> dict[str, tuple[Tensor, Tensor]]:
    graph = symmetrically_normalised(adjacency())
    e = mean_of_layers(graph, torch.cat([model.users, model.items]), model.layers)
    p, q = e[:USERS], e[USERS:]
    views = {}
    for name, a in literal_graphs(model).items():
        h = torch.linalg.matrix_power(a, model.item_layers) @ model.items
        views[name] = (p, torch.stack([unit(row) for row in h]))
    return {**views, FUSED: (p, q + views[FUSED][1])}


@pytest.mark.parametrize("item_layers", [1, 2])
def test_loss_and_gradient_by_the_letter(item_layers: int) -> None:
    model = build(item_layers=item_layers)
    p, q = literal_branches(model)[FUSED]
    literal = {"bpr": literal_bpr(p, q), "l2": 0.1 * literal_l2([p], [q])}
    assert_equal_with_gradients(model, model.loss(TRIPLES, torch.Generator()), literal)


def test_branches_by_the_letter() -> None:
    model = build()
    literal = literal_branches(model)
    for name, branch in model.branches().items():
        for mine, expected in zip((branch.p, branch.q), literal[name], strict=True):
            torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-6)


def test_the_graph_is_learned_in_the_first_step_of_an_epoch_and_kept() -> None:
    model = build()
    transform = model.transforms["text"]
    assert isinstance(transform, nn.Linear)
    weight = transform.weight

    def gradient() -> Tensor | None:
        terms = model.loss(TRIPLES, torch.Generator())
        (found,) = torch.autograd.grad(terms["bpr"], [weight], allow_unused=True)
        return found

    first, second = gradient(), gradient()
    assert first is not None
    assert second is None
    kept = model.loss(TRIPLES, torch.Generator())["bpr"]
    with torch.no_grad():
        weight.neg_()
    assert model.loss(TRIPLES, torch.Generator())["bpr"] == kept
    model.begin_epoch(torch.Generator())
    assert model.loss(TRIPLES, torch.Generator())["bpr"] != kept


def test_a_vector_of_zeros_is_near_to_nothing() -> None:
    """So an item that is present, with a vector of zeros, must not break the normalisation."""
    model = build()
    with torch.no_grad():
        model.data.features["text"][2] = 0
        model.transforms["text"].get_parameter("bias").zero_()
    terms = model.loss(TRIPLES, torch.Generator())
    gradients = torch.autograd.grad(
        torch.stack(list(terms.values())).sum(), list(model.parameters()), materialize_grads=True
    )
    assert all(value.isfinite().all() for value in (*terms.values(), *gradients))


def test_neighbours_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    whole = modality.nearest_rows(x, 4)
    assert whole.tolist() == (x @ x.T).argsort(dim=1, descending=True)[:, :4].tolist()
    monkeypatch.setattr(modality, "BLOCK_BYTES", 7 * 4 * 50)
    assert torch.equal(modality.nearest_rows(x, 4), whole)
    assert modality.nearest_rows(x[:2], 4).shape == (2, 2)
