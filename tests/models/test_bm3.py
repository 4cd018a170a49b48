"""BM3 against a slow, literal transcription of method/003."""

import dataclasses

import pytest
import torch
from checkerboard import make_data, sample
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.models import registry
from brmrs.models.base import Batch, TrainingData
from brmrs.models.bm3 import BM3


@pytest.fixture
def data() -> TrainingData:
    return make_data()


def build(data: TrainingData, **values: float) -> BM3:
    model = registry.build(configure("bm3", dim=4, **values), data, seed=3)
    assert isinstance(model, BM3)
    return model.double()


def in_double(data: TrainingData) -> TrainingData:
    features = {m: x.double() for m, x in data.features.items()}
    return dataclasses.replace(data, features=features)


def cosine(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum() / (x.square().sum().sqrt() * y.square().sum().sqrt())


def literal(model: BM3, data: TrainingData, batch: Batch) -> Tensor:
    """The objective of method/003 pair by pair, where no target entry is dropped."""
    adjacency = data.user_item.csr.to_dense().double()
    users, items = model.users, model.items
    h_users = (users + adjacency @ items) / 2
    h_items = (items + adjacency.T @ users) / 2 + items
    reconstruction, align, mask, norms = [], [], [], []
    for u, i in zip(batch.users.tolist(), batch.positives.tolist(), strict=True):
        h_u, h_i = h_users[u], h_items[i]
        predict = model.predictor
        reconstruction.append(-cosine(predict(h_u), h_i.detach()))
        reconstruction.append(-cosine(predict(h_i), h_u.detach()))
        norms.append((h_u.square().sum() + h_i.square().sum()) / 2)
    for m in (TEXT, VISUAL):
        having = [i for i in batch.positives.tolist() if data.present[m][i]]
        for i in having:
            h_m = model.projections[m](data.features[m][i])
            weight = model.contrast / len(having)
            align.append(-weight * cosine(predict(h_m), h_items[i].detach()))
            mask.append(-weight * cosine(predict(h_m), h_m.detach()))
    size = len(batch.users)
    total: Tensor = (
        torch.stack(reconstruction).sum() / size
        + torch.stack(align).sum()
        + torch.stack(mask).sum()
        + model.regularization * torch.stack(norms).sum() / size
    )
    return total


def test_loss_and_gradient_by_the_letter(data: TrainingData) -> None:
    data = in_double(data)
    model = build(data, dropout=0.0, contrast=1.5, regularization=0.3)
    batch = Batch(
        torch.tensor([0, 1, 2, 2, 4, 31]),
        torch.tensor([2, 3, 5, 8, 9, 5]),  # 5 has no modality, 8 and 9 no picture
        torch.empty(6, 0, dtype=torch.long),
    )
    total = torch.stack(list(model.loss(batch, torch.Generator()).values())).sum()
    expected = literal(model, data, batch)
    torch.testing.assert_close(total, expected, atol=1e-6, rtol=1e-6)
    names, parameters = zip(*model.named_parameters(), strict=True)
    mine = torch.autograd.grad(total, parameters)
    theirs = torch.autograd.grad(expected, parameters)
    for name, a, b in zip(names, mine, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=1e-5), name


def test_dropout_comes_from_the_generator_and_hits_the_targets_alone(data: TrainingData) -> None:
    model = build(in_double(data), dropout=0.5)
    batch = sample(data, 0, torch.Generator())
    values = [
        model.loss(batch, torch.Generator().manual_seed(seed))["reconstruction"].item()
        for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]
    h = torch.ones(2000, 4)
    target = model._targets(h, torch.Generator().manual_seed(0))
    kept = target > 0
    assert kept.double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert kept.double().mean(dim=0).tolist() == pytest.approx([0.5] * 4, abs=0.05)
    count = kept.sum(dim=1, keepdim=True)
    torch.testing.assert_close(target, kept / count.clamp(min=1).sqrt())


def test_ranks_by_the_predicted_representations(data: TrainingData) -> None:
    model = build(in_double(data))
    branch = model.branches()[FUSED]
    adjacency = data.user_item.csr.to_dense().double()
    h_items = (model.items + adjacency.T @ model.users) / 2 + model.items
    torch.testing.assert_close(branch.q, model.predictor(h_items), atol=1e-6, rtol=1e-6)


def test_batch_whose_items_lack_everything_has_finite_terms(data: TrainingData) -> None:
    model = build(in_double(data))
    batch = Batch(torch.tensor([1]), torch.tensor([5]), torch.empty(1, 0, dtype=torch.long))
    terms = model.loss(batch, torch.Generator())
    assert terms["align"].item() == terms["mask"].item() == 0
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
