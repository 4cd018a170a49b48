"""Unit rows, principal directions, and projections of a step's items."""

from functools import partial

import pytest
import torch
from torch.nn.functional import linear

from brmrs.models import frozen_features
from brmrs.models.frozen_features import principal, projected, projected_differences


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_narrow_features_are_left_alone() -> None:
    x = torch.randn(5, 3, generator=generator())
    assert principal(x, 3, generator()) is x


def test_features_of_low_rank_keep_every_inner_product() -> None:
    x = torch.randn(40, 3, generator=generator()) @ torch.randn(3, 50, generator=generator())
    x[7] = 0
    reduced = principal(x, 3, generator())
    assert reduced.shape == (40, 3)
    torch.testing.assert_close(reduced @ reduced.T, x @ x.T, atol=1e-3, rtol=1e-3)
    assert not reduced[7].any()


def test_fewer_items_than_directions() -> None:
    x = torch.randn(4, 50, generator=generator())
    reduced = principal(x, 10, generator())
    torch.testing.assert_close(reduced @ reduced.T, x @ x.T, atol=1e-3, rtol=1e-3)


def test_keeps_about_as_much_as_the_exact_decomposition() -> None:
    spectrum = torch.arange(1, 61).float() ** -0.7
    x = torch.linalg.qr(torch.randn(80, 60, generator=generator())).Q * spectrum
    exact = torch.linalg.svdvals(x)[:8].square().sum()
    assert principal(x, 8, generator()).square().sum() > 0.98 * exact


@pytest.mark.parametrize(("wide", "block"), [(1, 1), (1, 14), (1, 1000), (8, 1000)])
def test_a_projection_and_its_gradient_are_those_of_all_rows(
    monkeypatch: pytest.MonkeyPatch, wide: int, block: int
) -> None:
    monkeypatch.setattr(frozen_features, "WIDE", wide)
    monkeypatch.setattr(frozen_features, "BLOCK", block)
    x, rows = torch.randn(9, 7, generator=generator()), torch.tensor([[3, 3], [8, 0], [3, 8]])
    weight = torch.randn(4, 7, generator=generator(), requires_grad=True)
    coefficients = torch.randn(3, 2, 4, generator=generator())
    found = projected(rows, x, partial(linear, weight=weight))
    torch.testing.assert_close(found, linear(x[rows], weight))
    (gradient,) = torch.autograd.grad((found * coefficients).sum(), weight)
    (expected,) = torch.autograd.grad((linear(x[rows], weight) * coefficients).sum(), weight)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("block", [1, 14, 1000])
def test_differences_are_projected_as_the_items_would_be(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(frozen_features, "BLOCK", block)
    x, pairs = torch.randn(9, 7, generator=generator()), torch.tensor([[3, 2], [8, 0], [3, 8]])
    w = torch.randn(7, 4, generator=generator())
    expected = x[pairs[:, 0]] @ w - x[pairs[:, 1]] @ w
    torch.testing.assert_close(projected_differences(pairs, x, w), expected)
