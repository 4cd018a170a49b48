"""GRCN against a slow, literal transcription of its equations, node by node."""

import pytest
import torch
from six_by_five import (
    EDGES,
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
    unit,
)
from torch import Tensor

from brmrs.columns import FUSED, VISUAL
from brmrs.config.models import configure
from brmrs.models import registry
from brmrs.models.grcn import GRCN

Messages = dict[tuple[int, int], Tensor]  # weight by (user, item)
ITEMS_OF = {u: [i for v, i in EDGES if v == u] for u in range(USERS)}
USERS_OF = {i: [u for u, j in EDGES if j == i] for i in range(ITEMS)}


def softmax(values: dict[int, Tensor]) -> dict[int, Tensor]:
    total = torch.stack([torch.exp(x) for x in values.values()]).sum() if values else 0
    return {key: torch.exp(x) / total for key, x in values.items()}


def literal_content(model: GRCN, m: str) -> tuple[Tensor, Tensor, Messages, Messages]:
    """p, q, a_ui, a_iu of a modality. Item 4, without a picture, has no interactions either."""
    x, present = model.data.features[m], model.data.present[m]
    q = [unit(leaky(affine(model.projections[m], x[i]))) for i in range(ITEMS)]
    q = [row if present[i] else torch.zeros_like(row) for i, row in enumerate(q)]
    p = [unit(row) for row in model.prototypes[m]]

    def shares() -> list[dict[int, Tensor]]:
        return [
            softmax({i: (p[u] * q[i]).sum() for i in ITEMS_OF[u] if present[i]})
            for u in range(USERS)
        ]

    for _ in range(model.routing):
        a = shares()
        p = [
            unit(torch.stack([p[u], *(w * q[i] for i, w in a[u].items())]).sum(dim=0))
            for u in range(USERS)
        ]
    a = shares()
    b = [
        softmax({u: (p[u] * q[i]).sum() for u in USERS_OF[i]} if present[i] else {})
        for i in range(ITEMS)
    ]
    users = [torch.stack([p[u], *(w * q[i] for i, w in a[u].items())]).sum(0) for u in range(USERS)]
    items = [torch.stack([q[i], *(w * p[u] for u, w in b[i].items())]).sum(0) for i in range(ITEMS)]
    zero = torch.zeros((), dtype=torch.float64)
    to_user = {(u, i): a[u].get(i, zero) for u, i in EDGES}
    to_item = {(u, i): b[i].get(u, zero) for u, i in EDGES}
    return torch.stack(users), torch.stack(items), to_user, to_item


def literal_ids(
    model: GRCN, to_user: list[Messages], to_item: list[Messages]
) -> tuple[Tensor, ...]:
    weights_u, weights_i = {}, {}
    for u, i in EDGES:
        from_item = [c * a[u, i] for c, a in zip(model.item_confidence[i], to_user, strict=True)]
        from_user = [c * a[u, i] for c, a in zip(model.user_confidence[u], to_item, strict=True)]
        weights_u[u, i] = torch.stack(from_item).max().clamp(min=0)
        weights_i[u, i] = torch.stack(from_user).max().clamp(min=0)
    p, q = list(model.users), list(model.items)
    sum_p, sum_q = model.users.clone(), model.items.clone()
    none = torch.zeros(4, dtype=torch.float64)
    for _ in range(model.layers):
        p, q = (
            [sum((weights_u[u, i] * q[i] for i in ITEMS_OF[u]), start=none) for u in range(USERS)],
            [sum((weights_i[u, i] * p[u] for u in USERS_OF[i]), start=none) for i in range(ITEMS)],
        )
        sum_p, sum_q = sum_p + torch.stack(p), sum_q + torch.stack(q)
    return sum_p, sum_q


@pytest.mark.parametrize("picture_of_item_2", [True, False])
def test_loss_gradient_and_branches_by_the_letter(picture_of_item_2: bool) -> None:
    inputs = data()
    inputs.present[VISUAL][2] = picture_of_item_2
    model = registry.build(configure("grcn", dim=4, regularization=0.1), inputs, seed=1)
    assert isinstance(model, GRCN)
    in_double(model)
    content = {m: literal_content(model, m) for m in model.modalities}
    messages = zip(*((c[2], c[3]) for c in content.values()), strict=True)
    ids = literal_ids(model, *map(list, messages))
    p = torch.cat([ids[0], *(c[0] for c in content.values())], dim=1)
    q = torch.cat([ids[1], *(c[1] for c in content.values())], dim=1)
    norms = literal_l2([model.users, *model.prototypes.values()], [model.items])
    literal = {"bpr": literal_bpr(p, q), "l2": 0.1 * norms}
    assert_equal_with_gradients(model, model.loss(TRIPLES, torch.Generator()), literal)
    expected = {FUSED: (p, q), **{m: c[:2] for m, c in content.items()}}
    for name, branch in model.branches().items():
        for mine, dense in zip((branch.p, branch.q), expected[name], strict=True):
            torch.testing.assert_close(mine, dense, atol=1e-6, rtol=1e-6)
