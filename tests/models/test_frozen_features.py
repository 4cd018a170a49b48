"""Unit rows and principal directions."""

import torch

from brmrs.models.frozen_features import principal, unit_rows


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_rows_become_unit_and_absent_ones_stay_zero() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]])
    torch.testing.assert_close(unit_rows(x), torch.tensor([[0.6, 0.8], [0, 0], [1, 0]]))


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
