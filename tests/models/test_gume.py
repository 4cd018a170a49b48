"""GUME against a slow, literal transcription of its equations."""

import torch
from by_the_letter import (
    batch_positives,
    batch_users,
    cosine_graph,
    fused,
    literal_contrast,
    literal_info_nce,
    purified,
    view,
)
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
    literal_l2,
    mean_of_layers,
    symmetrically_normalised,
)
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.models import registry
from brmrs.models.gume import GUME

SETTINGS = {
    "contrast": 0.3,
    "temperature": 0.4,
    "user_contrast": 0.2,
    "user_temperature": 0.5,
    "noise": 0.15,
    "align": 0.7,
    "regularization": 0.1,
    "extended_regularization": 0.6,
}


def build() -> GUME:
    model = registry.build(configure("gume", dim=4, **SETTINGS), data(), seed=1)
    assert isinstance(model, GUME)
    in_double(model)
    return model


def literal_enhanced() -> Tensor:
    """The user-item graph with edges from an item to those near it by both modalities."""
    a = adjacency()
    for i in range(ITEMS):
        for j in range(ITEMS):
            if COSINES[TEXT][i][j] > 0 and COSINES[VISUAL][i][j] > 0:
                a[USERS + i, USERS + j] = 1
    return symmetrically_normalised(a)


def literal_views(model: GUME) -> dict[str, Tensor]:
    views = {}
    for m in (TEXT, VISUAL):
        items = purified(model.data, m, model.items, model.projections[m], model.gates[m])
        views[m] = view(cosine_graph(model.data, m), items, model.config.item_layers)
    return views


def literal_extended(model: GUME, views: dict[str, Tensor]) -> Tensor:
    """(U + I, d) E_x."""
    tables = [
        mean_of_layers(
            literal_enhanced(),
            torch.cat([model.extended[m], views[m][USERS:]]),
            model.config.layers,
        )
        for m in (TEXT, VISUAL)
    ]
    return (tables[0] + tables[1]) / 2


def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(x.shape, generator=generator, dtype=torch.float64)
    noise = torch.stack([row / row.norm() for row in drawn])
    return x + torch.where(x > 0, 1.0, -1.0) * 0.15 * noise


def literal_user_contrast(side: Tensor, extended: Tensor, generator: torch.Generator) -> Tensor:
    x, y = batch_users(extended), batch_users(side)
    total = literal_info_nce(x, y, 0.5)
    for rows in (y, x):
        pair = noisy(rows, generator), noisy(rows, generator)
        total = total + literal_info_nce(*pair, 0.5)
    return total


def literal_align(x: Tensor, y: Tensor) -> Tensor:
    def moments(table: Tensor) -> tuple[Tensor, Tensor]:
        mean = table.sum() / table.numel()
        return mean, (table - mean).square().sum() / (table.numel() - 1)

    (mean_x, variance_x), (mean_y, variance_y) = moments(x), moments(y)
    return (variance_x - variance_y).abs() + (mean_x - mean_y).abs()


def test_loss_gradient_and_scores_by_the_letter() -> None:
    model = build()
    nodes = torch.cat([model.users, model.items])
    ids = mean_of_layers(literal_enhanced(), nodes, model.config.layers)
    views = literal_views(model)
    side, extended = fused(model.fuser, views, ids), literal_extended(model, views)
    p, q = (ids + side)[:USERS], (ids + side)[USERS:]
    drawn = torch.Generator().manual_seed(7)
    squares = batch_positives(extended).square().sum(dim=1)
    literal = {
        "bpr": literal_bpr(p, q),
        "contrast": 0.3 * literal_contrast(side, ids, 0.4),
        "user_contrast": 0.2 * literal_user_contrast(side, extended, drawn),
        "l2": 0.1 * literal_l2([p], [q]),
        "extended_l2": 0.6 * squares.mean() / 2,
        "align": 0.7 * literal_align(views[TEXT], views[VISUAL]),
    }
    found = model.loss(batch(1), torch.Generator().manual_seed(7))
    assert_equal_with_gradients(model, found, literal)
    scores = model.branches()[FUSED].scores(torch.arange(USERS))
    torch.testing.assert_close(scores, p @ q.T, atol=1e-5, rtol=1e-5)


def test_the_enhanced_graph_is_directed_where_the_neighbours_are() -> None:
    """Items 0 and 2 are near each other by both modalities; 0 is near 1, but 1 not near 0."""
    dense = build().enhanced.csr.to_dense()[USERS:, USERS:]
    edges = {(i, j) for i, j in dense.nonzero().tolist()}
    assert edges == {(0, 2), (2, 0), (1, 0), (3, 1)}
