"""The methods' losses against their papers' formulas, on outputs that are known."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from brmrs.features.self_supervised.barlow_twins import LAMBDA, WIDTH, BarlowTwins, redundancy
from brmrs.features.self_supervised.base import Method, mlp, spread
from brmrs.features.self_supervised.byol import BASE_DECAY, BYOL
from brmrs.features.self_supervised.simsiam import SimSiam
from brmrs.features.self_supervised.stage import METHODS
from brmrs.features.visual.seeded import DrawFrom

pytestmark = pytest.mark.usefixtures("one_thread")
PIXELS = 4


def network() -> nn.Module:
    """(B, 3, 4, 4) to (B, 8)."""
    with DrawFrom(torch.Generator().manual_seed(0)):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * PIXELS**2, 8))


def method(cls: type[Method]) -> Method:
    with DrawFrom(torch.Generator().manual_seed(1)):
        return cls(network, 8)


def views() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = (6, 3, PIXELS, PIXELS)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)


def test_simsiam_is_the_mean_of_both_negative_cosines() -> None:
    made = method(SimSiam)
    assert isinstance(made, SimSiam)
    first, second = views()
    loss, outputs = made(first, second)
    z = [made.projector(made.backbone(view)) for view in (first, second)]
    p = [made.predictor(each) for each in z]
    cosines = [(normalize(a) * normalize(b)).sum(1).mean() for a, b in ((p[0], z[1]), (p[1], z[0]))]
    assert loss.item() == pytest.approx(-(cosines[0] + cosines[1]).item() / 2, abs=1e-6)
    assert torch.allclose(outputs, z[0])


def test_simsiam_s_target_has_no_gradient_and_its_predictor_no_schedule() -> None:
    made = method(SimSiam)
    assert isinstance(made, SimSiam)
    for parameter in made.predictor.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():  # p is constant: all gradient of z would be the target's
        made.predictor.get_parameter("3.bias").fill_(1)
    loss, _ = made(*views())
    loss.backward()
    gradients = [parameter.grad for parameter in made.projector.parameters()]
    assert not any(gradient.any() for gradient in gradients if gradient is not None)
    assert made.unscheduled() == set(made.predictor.parameters())


def test_byol_is_the_squared_distance_of_unit_vectors() -> None:
    made = method(BYOL)
    assert isinstance(made, BYOL)
    first, second = views()
    q = [normalize(made.predictor(made.projector(made.backbone(v)))) for v in (first, second)]
    z = [normalize(made.target_projector(made.target_backbone(v))) for v in (second, first)]
    expected = sum((a - b).square().sum(1).mean().item() for a, b in zip(q, z, strict=True))
    assert made(first, second)[0].item() == pytest.approx(expected, abs=1e-5)


def test_byol_s_target_starts_as_the_online_network_and_follows_it() -> None:
    made = method(BYOL)
    assert isinstance(made, BYOL)
    online, target = (
        each.get_parameter("1.weight") for each in (made.backbone, made.target_backbone)
    )
    assert torch.equal(online, target)
    assert not target.requires_grad
    before = target.clone()
    with torch.no_grad():
        online.add_(1)
    made.after_step(0.5)
    tau = 1 - (1 - BASE_DECAY) * (math.cos(math.pi / 2) + 1) / 2
    assert torch.allclose(target, before + (1 - tau), atol=1e-6)
    moved = target.clone()
    made.after_step(1.0)  # tau is 1 at the end
    assert torch.equal(target, moved)


def test_barlow_twins_by_hand() -> None:
    correlations = torch.tensor([[1.0, 0.5], [-0.2, 0.4]])
    expected = 0.6**2 + LAMBDA * (0.5**2 + 0.2**2)
    assert redundancy(correlations).item() == pytest.approx(expected)


def test_barlow_twins_of_equal_views_has_a_diagonal_of_ones() -> None:
    made = method(BarlowTwins)
    first, _ = views()
    loss, z = made(first, first)
    standard = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
    expected = redundancy(standard.T @ standard / len(z)) / WIDTH
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_every_trained_parameter_gets_a_gradient(name: str) -> None:
    made = method(METHODS[name])
    loss, outputs = made(*views())
    assert loss.shape == ()
    assert len(outputs) == 6
    loss.backward()
    for parameter_name, parameter in made.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name


def test_spread_is_0_of_a_collapse_and_1_of_a_gaussian() -> None:
    assert spread(torch.ones(10, 4)) == 0
    scaled = torch.arange(1.0, 11)[:, None] * torch.tensor([[1.0, 2.0, 3.0]])
    assert spread(scaled) == pytest.approx(0, abs=1e-6)  # lengths alone differ
    gaussian = torch.randn(2000, 64, generator=torch.Generator().manual_seed(0))
    assert spread(gaussian) == pytest.approx(1, abs=0.02)


def test_heads_have_batch_norm_where_asked() -> None:
    kinds = [type(layer).__name__ for layer in mlp((2, 3, 4), normed_output=True)]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    kinds = [type(layer).__name__ for layer in mlp((2, 3, 4), normed_output=False)]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
