"""A network without its normalisations gives what it gave with them."""

import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import get_model

from brmrs.config.features import VisualConfig
from brmrs.features.visual.backbones import build, find
from brmrs.features.visual.folding import fold
from brmrs.features.visual.seeded import DrawFrom


def trained(network: nn.Module) -> nn.Module:
    """Statistics and weights as training leaves them: fresh ones do nothing."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.1, generator=generator)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def normalisations(network: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("resnet18", 20, 0),
        ("resnet50", 53, 0),
        ("vgg11_bn", 8, 0),
        ("efficientnet_b0", 49, 0),
        ("regnet_y_400mf", 53, 0),
        ("mobilenet_v3_small", 34, 0),
        ("shufflenet_v2_x0_5", 56, 0),
        ("densenet121", 121, 62),  # the others come before a convolution, over many maps
        ("convnext_tiny", 0, 0),
    ],
)
def test_the_output_is_the_same(name: str, before: int, after: int) -> None:
    with DrawFrom(torch.Generator().manual_seed(0)):
        network = trained(get_model(name))
    names = [module for module, _ in network.named_modules()]
    with torch.inference_mode():
        expected = network(images())
    assert normalisations(network) == before
    fold(network, images())
    assert normalisations(network) == after
    assert [module for module, _ in network.named_modules()] == names
    with torch.inference_mode():
        close(network(images()), expected)


class Odd(nn.Module):
    """Maps that others want, too; a normalisation of two; one before its convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.twice, self.late = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.of_seen, self.shared, self.early = (nn.BatchNorm2d(3) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Run all of them."""
        y = self.seen(x)
        y = y + self.of_seen(y)
        y = self.shared(self.twice(y)) + self.shared(y)
        result: Tensor = self.late(self.early(y))
        return result


def test_a_convolution_with_other_users_is_not_folded() -> None:
    with DrawFrom(torch.Generator().manual_seed(0)):
        network = trained(Odd())
    with torch.inference_mode():
        expected = network(images())
    fold(network, images())
    with torch.inference_mode():
        assert torch.equal(network(images()), expected)
    assert normalisations(network) == 3


@pytest.mark.parametrize(
    ("layer", "left"), [("layer2.0.bn1", 1), ("layer2.0.conv1", 0), ("layer3", 0)]
)
def test_folding_up_to_any_layer(layer: str, left: int) -> None:
    network, _ = build(find("resnet18", layer), VisualConfig(backbone="resnet18", weights="random"))
    trained(network)
    with torch.inference_mode():
        expected = network(images())
    assert normalisations(network) > 0
    fold(network, images())
    assert normalisations(network) == left  # a layer keeps its hook, and so its place
    with torch.inference_mode():
        close(network(images()), expected)


def test_folding_does_not_disturb_other_threads() -> None:
    """As the stage of the texts does; torch.fx would change `nn.Module` under it."""
    text, over, faults = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), threading.Event(), []

    def other() -> None:
        while not over.is_set():
            try:
                text(torch.ones(1, 4))
            except BaseException as fault:  # fx raises NameError
                faults.append(fault)

    thread = threading.Thread(target=other)
    thread.start()
    network = trained(get_model("mobilenet_v3_small"))
    fold(network, images())
    over.set()
    thread.join()
    assert faults == []
    assert normalisations(network) == 0
