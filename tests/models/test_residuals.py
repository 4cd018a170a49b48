"""Residual scores: closed-form scores added to a model's, standardised per user."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from checkerboard import ITEMS, UNSEEN_USER, USERS, make_data
from hypothesis import given
from hypothesis import strategies as st

from brmrs.columns import FUSED, MODEL
from brmrs.config.models import configure
from brmrs.config.residuals import ResidualsConfig
from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle, ease, registry, residuals
from brmrs.models.base import Branch, Scorer
from brmrs.models.item_knn import interactions
from brmrs.models.standardised import StandardisedSum, standardised

DATA = make_data()
ALL = ResidualsConfig(ease=0.2, neighbours=0.1, graph_filter=0.3, ridge=2.0)
EVERYONE = torch.arange(USERS)
SEEN = UserItems.from_pairs(DATA.train_users, DATA.train_items, USERS, ITEMS)


def dense() -> np.ndarray:
    """(U, I) the training interactions."""
    r = np.zeros((USERS, ITEMS))
    r[DATA.train_users, DATA.train_items] = 1
    return r


def test_the_scores_are_their_formulas() -> None:
    scores = residuals.fitted(ALL, DATA)
    r = dense()
    p = np.linalg.inv(r.T @ r + 2.0 * np.eye(ITEMS))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    k = sum(
        weight * DATA.modality_graphs[m].csr.to_dense().numpy()
        for m, weight in (("text", 0.9), ("visual", 0.1))
    )
    users, items = (np.maximum(r.sum(axis), 1) for axis in (1, 0))
    normalised = r / np.sqrt(users[:, None] * items)
    expected = {
        "ease": r @ b,
        "neighbours": r @ k,
        "graph-filter": normalised @ normalised.T @ normalised * np.sqrt(users[:, None]),
    }
    assert list(scores) == list(expected)
    for name, values in expected.items():
        found = scores[name].scores(EVERYONE).numpy()
        np.testing.assert_allclose(found, values, atol=1e-5, err_msg=name)


def test_ease_is_extended_as_in_content_ease(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"ridge": 2.0, "visual_weight": 0.3}
    config = ResidualsConfig(ease=0.2, ease_history=2.0, ease_candidates=0.5, **settings)
    model = configure("content-ease", history=2.0, candidates=0.5, **settings)
    expected = registry.build(model, DATA, seed=0).branches()[FUSED].scores(EVERYONE)
    found = residuals.fitted(config, DATA)["ease"].scores(EVERYONE)
    assert torch.equal(found, expected)
    # Beyond DENSE_ITEMS: exact where a column may keep every entry. On the board all items of a
    # colour co-occur, and the weights between colours are 0.
    monkeypatch.setattr(residuals, "DENSE_ITEMS", 1)
    monkeypatch.setattr(residuals, "BLOCK_COLUMNS", 5)
    sparse = residuals.fitted(config, DATA)["ease"].scores(EVERYONE)
    torch.testing.assert_close(sparse, expected, rtol=1e-3, atol=1e-3)


def test_an_extended_sparse_matrix_keeps_the_largest_of_each_column() -> None:
    generator = np.random.default_rng(0)
    kept = generator.random((2, 30, 30)) < [[[0.2]], [[0.1]]]
    b = sp.csr_matrix(((generator.random((30, 30)) - 0.5) * kept[0]).astype(np.float32))
    half = (generator.random((30, 30)) * kept[1]).astype(np.float32)
    k = sp.csr_matrix(half + half.T)
    whole = (np.eye(30) + 2 * k.toarray()) @ b.toarray() @ (np.eye(30) + 0.5 * k.toarray())
    found = residuals.extended(b, k, 2.0, 0.5, 4).toarray()
    for column, of in zip(found.T, whole.T, strict=True):
        places = np.sort(np.argsort(-np.abs(of), kind="stable")[:4])
        np.testing.assert_array_equal(np.flatnonzero(column), places)
        np.testing.assert_allclose(column[places], of[places], rtol=1e-4)


def test_only_scores_with_a_weight_are_fitted() -> None:
    assert list(residuals.fitted(ResidualsConfig(graph_filter=1.0), DATA)) == ["graph-filter"]
    assert residuals.fitted(ResidualsConfig(), DATA) == {}


def test_the_sum_is_that_of_the_standardised_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = {
        name: Branch(torch.randn(4, 3, generator=generator), torch.randn(9, 3, generator=generator))
        for name in ("one", "other")
    }
    total = StandardisedSum(torch.tensor([1.0, 0.5]), parts)
    users = torch.tensor([2, 0])
    z = [
        (s - s.mean(1, keepdim=True)) / s.std(1, keepdim=True, correction=0)
        for s in (part.scores(users) for part in parts.values())
    ]
    torch.testing.assert_close(total.scores(users), z[0] + 0.5 * z[1])
    assert torch.equal(total.similarities(3), parts["one"].similarities(3))


@given(
    values=st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=8),
    scale=st.floats(0.5, 20),
    shift=st.floats(-50, 50),
)
def test_standard_scores_do_not_depend_on_unit_and_offset(
    values: list[float], scale: float, shift: float
) -> None:
    x = torch.tensor([values])
    z = standardised(x.clone())
    assert torch.isfinite(z).all()
    if x.max() - x.min() > 0.1:
        torch.testing.assert_close(standardised(x * scale + shift), z, rtol=0.01, atol=0.01)
        torch.testing.assert_close(z.square().mean(), torch.tensor(1.0), rtol=1e-3, atol=1e-3)


def test_a_part_that_does_not_distinguish_items_adds_nothing() -> None:
    equal = torch.full((2, 5), 0.1) * torch.tensor([[1.0], [3.0]])
    assert torch.equal(standardised(equal), torch.zeros(2, 5))


def test_a_user_without_history_keeps_the_models_order() -> None:
    branches = with_residuals()
    fused, own = branches[FUSED].scores(torch.tensor([UNSEEN_USER])), branches[MODEL]
    expected = own.scores(torch.tensor([UNSEEN_USER])).argsort(dim=1)
    assert torch.equal(fused.argsort(dim=1), expected)


def with_residuals() -> dict[str, Scorer]:
    with torch.no_grad():
        model = registry.build(configure("bpr-mf", dim=4), DATA, seed=0)
        return residuals.added(model.branches(), residuals.fitted(ALL, DATA), ALL.weights)


def test_a_bundle_keeps_the_sum_and_its_parts(tmp_path: Path) -> None:
    branches = with_residuals()
    about = bundle.Description(
        model={"name": "bpr-mf"},
        train={},
        best_epoch=1,
        validation={},
        features={},
        users=tuple(f"U{user}" for user in range(USERS)),
        items=tuple(f"B{item}" for item in range(ITEMS)),
    )
    bundle.Bundle(about, branches, SEEN, {}).save(tmp_path)
    loaded = bundle.load(tmp_path)
    assert set(loaded.branches) == {FUSED, MODEL, "ease", "neighbours", "graph-filter"}
    assert loaded.about.parts == {FUSED: (MODEL, "ease", "neighbours", "graph-filter")}
    for name, branch in branches.items():
        assert torch.equal(loaded.branches[name].scores(EVERYONE), branch.scores(EVERYONE)), name


def test_new_users_get_the_sum_of_the_parts() -> None:
    branches = with_residuals()
    new = branches[FUSED].fold_in(SEEN)(SEEN)
    parts = {name: branches[name].fold_in(SEEN)(SEEN) for name in branches if name != FUSED}
    expected = StandardisedSum(torch.tensor([1.0, *ALL.weights.values()]), parts)
    assert torch.equal(new.scores(EVERYONE), expected.scores(EVERYONE))


def test_ease_over_all_co_occurring_items_is_close_to_ease() -> None:
    r = interactions(DATA)
    whole = ease.item_weights(r, 5.0, torch.device("cpu")).numpy()
    sparse = residuals.co_occurring_ease(r, 5.0, ITEMS).toarray()
    together = (r.T @ r).toarray() > 0
    assert np.array_equal(sparse != 0, together & ~np.eye(ITEMS, dtype=bool))
    # On the board an item co-occurs with all of its colour, and with no other item.
    np.testing.assert_allclose(sparse, np.where(together, whole, 0), atol=1e-5)


def test_a_column_of_ease_solves_its_own_regression() -> None:
    r = sp.csr_matrix((np.random.default_rng(0).random((50, 12)) < 0.3).astype(np.float32))
    sparse = residuals.co_occurring_ease(r, 3.0, 4)
    gram = (r.T @ r).toarray()
    for item in range(12):
        near = np.flatnonzero(sparse[:, [item]].toarray())
        assert len(near) == 4
        b = np.linalg.solve(gram[np.ix_(near, near)] + 3.0 * np.eye(4), gram[near, item])
        np.testing.assert_allclose(sparse[near, item].toarray().ravel(), b, atol=1e-5)
        others = np.setdiff1d(np.arange(12), [*near, item])
        assert gram[near, item].min() >= gram[others, item].max()


def test_data_without_neighbours_are_refused() -> None:
    bare = dataclasses.replace(DATA, modality_graphs={})
    with pytest.raises(UserError, match="neighbours needs the nearest"):
        residuals.refuse_what_cannot_be_fitted(ALL, bare)
    with pytest.raises(UserError, match="ease_candidates needs the nearest"):
        residuals.refuse_what_cannot_be_fitted(ResidualsConfig(ease=1, ease_candidates=1), bare)
    residuals.refuse_what_cannot_be_fitted(ResidualsConfig(ease=1.0), bare)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"search": True}, "every weight is 0"),
        ({"ridge": 3.0, "neighbours": 1.0}, "ease is 0"),
        ({"visual_weight": 0.5, "ease": 1.0}, "nothing reads the neighbours"),
        ({"ease_history": 1.0, "neighbours": 1.0}, "ease is 0"),
    ],
)
def test_a_setting_without_effect_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ResidualsConfig(**values)


def test_the_matrix_of_ease_is_stored_row_by_row() -> None:
    """A transposed one was copied in each block of users: 70 s instead of 1 s on Baby."""
    assert ease.item_weights(interactions(DATA), 2.0, torch.device("cpu")).is_contiguous()
