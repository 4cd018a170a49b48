"""The optimiser's step against the formulas, by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brmrs.config.learning import TrainConfig
from brmrs.training.optimiser import Optimiser, rate_factor

STEPS = 4  # in an epoch


def weight(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def made(parameters: list[nn.Parameter], **options: Any) -> Optimiser:
    return Optimiser(parameters, TrainConfig(**options), STEPS)


def quadratic(parameter: Tensor) -> Tensor:
    return (parameter * torch.tensor([3.0, 4.0])).square().sum() / 2


def test_without_options_it_is_adam_to_the_last_bit() -> None:
    ours, plain = weight(1.0, -2.0), weight(1.0, -2.0)
    optimiser = made([ours], learning_rate=0.01)
    adam = torch.optim.Adam([plain], lr=0.01, fused=True)
    for _ in range(20):
        optimiser.step(quadratic(ours))
        adam.zero_grad()
        torch.autograd.backward(quadratic(plain))
        adam.step()
    assert torch.equal(ours, plain)


@pytest.mark.parametrize(
    ("clip_norm", "expected"), [(None, (3.0, 4.0)), (10.0, (3.0, 4.0)), (1.0, (0.6, 0.8))]
)
def test_the_whole_gradient_is_clipped_by_its_norm(
    clip_norm: float | None, expected: tuple[float, float]
) -> None:
    first, second = weight(0.0), weight(0.0)  # one norm, 5, over both parameters
    made([first, second], clip_norm=clip_norm).step(3 * first.sum() + 4 * second.sum())
    assert first.grad is not None
    assert second.grad is not None
    assert (first.grad.item(), second.grad.item()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, {0: 1.0, 1000: 1.0}),
        ({"warmup": 2}, {0: 1 / 8, 3: 0.5, 7: 1.0, 8: 1.0, 1000: 1.0}),
        ({"schedule": "cosine"}, {0: 1.0, 10: (1 + math.cos(math.pi / 4)) / 2, 20: 0.5, 40: 0.0}),
        ({"schedule": "cosine", "warmup": 2}, {0: 1 / 8, 7: 1.0, 8: 1.0, 24: 0.5, 40: 0.0}),
        ({"schedule": "cosine", "warmup": 10}, {39: 1.0, 40: 1.0}),  # nothing is left to fall in
    ],
)
def test_schedules(options: dict[str, Any], factors: dict[int, float]) -> None:
    config = TrainConfig(epochs=10, **options)
    for step, factor in factors.items():
        assert rate_factor(config, step, STEPS) == pytest.approx(factor, abs=1e-12), step


def test_adam_uses_the_scheduled_rate() -> None:
    """Adam's first step has the length of the learning rate, whatever the gradient."""
    parameter = weight(0.0)
    made([parameter], learning_rate=0.1, warmup=1).step(7 * parameter.sum())
    assert parameter.item() == pytest.approx(-0.1 / STEPS, rel=1e-5)


def test_the_average_of_the_weights_by_hand() -> None:
    parameter = weight(1.0, -2.0)
    optimiser = made([parameter], learning_rate=0.1, average=0.9)
    expected: list[float] | None = None
    for _ in range(5):
        optimiser.step(quadratic(parameter))
        now = parameter.tolist()
        expected = [
            0.9 * a + 0.1 * w for a, w in zip(expected or now, now, strict=True)
        ]  # the first step's weights start it
    own = parameter.tolist()
    with optimiser.averaged():
        assert parameter.tolist() == pytest.approx(expected)
    assert parameter.tolist() == own != expected


def test_an_error_within_averaged_puts_the_weights_back() -> None:
    parameter = weight(1.0, -2.0)
    optimiser = made([parameter], learning_rate=0.1, average=0.5)
    for _ in range(2):
        optimiser.step(quadratic(parameter))
    own = parameter.tolist()
    with pytest.raises(KeyboardInterrupt), optimiser.averaged():
        raise KeyboardInterrupt
    assert parameter.tolist() == own
