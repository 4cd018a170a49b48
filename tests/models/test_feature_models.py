"""VBPR, DeepStyle, VECF and MAML against slow, literal transcriptions of their papers."""

from collections.abc import Callable

import pytest
import torch
from six_by_five import (
    ITEMS,
    USERS,
    assert_equal_with_gradients,
    batch,
    data,
    in_double,
    triples,
)
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.models.base import Batch, Recommender
from brmrs.models.deepstyle import DeepStyle
from brmrs.models.maml import MAML
from brmrs.models.vbpr import VBPR
from brmrs.models.vecf import VECF

DATA = data()  # and item 3 has no text, items 0 and 3 no picture
for modality, missing in ((TEXT, [3]), (VISUAL, [0, 3])):
    DATA.features[modality][missing] = 0
    DATA.present[modality][missing] = False


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def unit(m: str, i: int) -> Tensor:
    x = DATA.features[m][i]
    return x / x.square().sum().sqrt() if DATA.present[m][i] else x


def joined(i: int) -> Tensor:
    return torch.cat([unit(TEXT, i), unit(VISUAL, i)])


def vbpr_score(model: VBPR, u: int, i: int) -> Tensor:
    visual = model.projection.T @ joined(i)
    score = (model.users[u] * model.items[i]).sum() + (model.tastes[u] * visual).sum()
    return score + model.item_bias[i, 0] + (model.feature_bias[:, 0] * joined(i)).sum()


def deepstyle_score(model: DeepStyle, u: int, i: int) -> Tensor:
    assert DATA.categories is not None
    style = model.projection.T @ joined(i) - model.categories[DATA.categories[i]]
    return (model.users[u] * (style + model.items[i])).sum()


def vecf_score(model: VECF, u: int, i: int) -> Tensor:
    parts = [m for m in (TEXT, VISUAL) if DATA.present[m][i]]
    merged = model.items[i]
    if parts:
        query = model.query.T @ model.users[u]
        logits = [(query * (model.keys[m].T @ unit(m, i))).sum() for m in parts]
        weights = torch.stack(logits).exp()
        for m, weight in zip(parts, weights / weights.sum(), strict=True):
            merged = merged + weight * (model.values[m].T @ unit(m, i))
    return (model.users[u] * merged).sum()


def in_ball(x: Tensor) -> Tensor:
    length = x.square().sum().sqrt()
    return x / length if length > 1 else x


def maml_score(model: MAML, u: int, i: int) -> Tensor:
    p, q = in_ball(model.users[u]), in_ball(model.items[i])
    joint = torch.cat([p, q, model.mlp(joined(i))])
    hidden = torch.tanh(model.first.weight @ joint + model.first.bias)
    logits = torch.relu(model.second.weight @ hidden + model.second.bias)
    attention = len(p) * logits.exp() / logits.exp().sum()
    return -(attention * p - attention * q).square().sum()


def rows_squared(*rows: Tensor) -> Tensor:
    return torch.stack([row.square().sum() for row in rows]).sum() / 2


def vbpr_loss(model: VBPR) -> Tensor:
    total = []
    for u, i, j in triples():
        margin = vbpr_score(model, u, i) - vbpr_score(model, u, j)
        rows = [model.users[u], model.tastes[u]]
        rows += [table[item] for table in (model.items, model.item_bias) for item in (i, j)]
        total.append(-sigmoid(margin).log() + model.regularization * rows_squared(*rows))
    return torch.stack(total).mean()


def deepstyle_loss(model: DeepStyle) -> Tensor:
    assert DATA.categories is not None
    total = []
    for u, i, j in triples():
        margin = deepstyle_score(model, u, i) - deepstyle_score(model, u, j)
        rows = [model.users[u], model.items[i], model.items[j]]
        rows += [model.categories[DATA.categories[item]] for item in (i, j)]
        total.append(-sigmoid(margin).log() + model.regularization * rows_squared(*rows))
    return torch.stack(total).mean()


def quadruples(drawn: Batch) -> list[tuple[int, int, list[int]]]:
    columns = (drawn.users.tolist(), drawn.positives.tolist(), drawn.negatives.tolist())
    return list(zip(*columns, strict=True))


def vecf_loss(model: VECF) -> Tensor:
    total = []
    for u, i, negatives in quadruples(batch(model.n_negatives)):
        entropy = -sigmoid(vecf_score(model, u, i)).log()
        for j in negatives:
            entropy = entropy - (1 - sigmoid(vecf_score(model, u, j))).log()
        rows = [model.users[u], *(model.items[item] for item in (i, *negatives))]
        total.append(entropy + model.regularization * rows_squared(*rows))
    return torch.stack(total).mean()


def maml_loss(model: MAML) -> Tensor:
    drawn = batch(model.n_negatives)
    hinges = []
    for u, i, negatives in quadruples(drawn):
        positive = -maml_score(model, u, i)
        within = [model.margin + positive + maml_score(model, u, j) for j in negatives]
        rank = ITEMS * sum(float(w > 0) for w in within) / len(negatives)
        weight = torch.log(torch.tensor(1 + rank, dtype=torch.float64))
        hinges += [weight * w for w in within if w > 0]
    items = sorted({*drawn.positives.tolist(), *drawn.negatives.flatten().tolist()})
    apart = [(model.mlp(joined(i)) - in_ball(model.items[i])).square().sum() for i in items]
    points = [in_ball(model.users[u]) for u in drawn.users.tolist()]
    points += [in_ball(model.items[i]) for i in items]
    mean = torch.stack(points).mean(dim=0)
    covariance = torch.stack([torch.outer(x - mean, x - mean) for x in points]).mean(dim=0)
    d = len(mean)
    different = [covariance[k, m].square() for k in range(d) for m in range(d) if k != m]
    return (
        torch.stack(hinges).sum() / drawn.negatives.numel()
        + model.weights["feature"] * torch.stack(apart).mean()
        + model.weights["covariance"] * torch.stack(different).sum()
    )


def vbpr() -> VBPR:
    return VBPR(DATA, VBPR.Config(dim=3, regularization=0.1), seed=0)


def deepstyle() -> DeepStyle:
    return DeepStyle(DATA, DeepStyle.Config(dim=3, regularization=0.1), seed=0)


def vecf() -> VECF:
    return VECF(DATA, VECF.Config(dim=3, n_negatives=2, regularization=0.1), seed=0)


def maml() -> MAML:
    weights = {"feature": 0.3, "covariance": 0.7}
    return MAML(DATA, MAML.Config(dim=3, hidden=4, n_negatives=3, margin=0.8, **weights), seed=0)


CASES: dict[str, tuple[Callable[[], Recommender], Callable[..., Tensor], Callable[..., Tensor]]] = {
    "vbpr": (vbpr, vbpr_score, vbpr_loss),
    "deepstyle": (deepstyle, deepstyle_score, deepstyle_loss),
    "vecf": (vecf, vecf_score, vecf_loss),
    "maml": (maml, maml_score, maml_loss),
}


def spread_out(make: Callable[[], Recommender]) -> Recommender:
    model = make()
    in_double(model)
    return model


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_by_the_letter(name: str) -> None:
    make, _, literal = CASES[name]
    model = spread_out(make)
    terms = model.loss(batch(model.n_negatives), torch.Generator())
    total = torch.stack(list(terms.values())).sum()
    assert_equal_with_gradients(model, {"total": total}, {"total": literal(model)})


@pytest.mark.parametrize("name", CASES)
def test_scores_by_the_letter(name: str) -> None:
    make, score, _ = CASES[name]
    model = spread_out(make)
    users = torch.tensor([5, 0, 3, 3, 1, 2, 4])
    with torch.no_grad():
        mine = model.branches()[FUSED].scores(users)
        literal = [[score(model, u, i) for i in range(ITEMS)] for u in users.tolist()]
    torch.testing.assert_close(mine, torch.tensor(literal, dtype=torch.float64))
    assert model.branches()[FUSED].shape == (USERS, ITEMS)


def test_some_of_mamls_hinges_are_active_and_some_are_not() -> None:
    """Else the transcription would compare zeros."""
    model = spread_out(maml)
    assert isinstance(model, MAML)
    drawn = batch(3)
    with torch.no_grad():
        within = [
            float(model.margin - maml_score(model, u, i) + maml_score(model, u, j))
            for u, i, negatives in quadruples(drawn)
            for j in negatives
        ]
    assert min(within) < 0 < max(within)


def test_maml_scores_do_not_depend_on_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = spread_out(maml)
    with torch.no_grad():
        branch = model.branches()[FUSED]
        whole = branch.scores(torch.arange(USERS))
        monkeypatch.setattr("brmrs.models.scorers.CHUNK", 1)
        torch.testing.assert_close(branch.scores(torch.arange(USERS)), whole)
