"""Rows of length 1: values, and the gradient against finite differences."""

import torch

from brmrs.graphs.unit_rows import unit_rows


def test_rows_become_unit_and_zero_ones_stay_zero() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]])
    torch.testing.assert_close(unit_rows(x), torch.tensor([[0.6, 0.8], [0, 0], [1, 0]]))


def test_gradient_over_any_leading_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_rows, x)


def test_a_zero_row_has_no_gradient() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    unit_rows(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0] * 3] * 2


def test_bfloat16_gives_float32() -> None:
    assert unit_rows(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_what_is_not_finite_stays_seen() -> None:
    assert not unit_rows(torch.tensor([[float("nan"), 1.0]])).isfinite().any()
