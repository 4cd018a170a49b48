"""The interface of the self-supervised methods, their heads, the measure of collapse."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import normalize

from brmrs.features.self_supervised.views import Views


class Method(nn.Module, ABC):
    """A loss on two views of the same pictures, around a backbone.

    Subclasses take `(network, dimension)`: a function that makes the backbone (B, 3, s, s) -> (B,
    f), equal on every call, and f. They are constructed under `seeded.DrawFrom`.

    Attributes:
        backbone: the network that is trained.
    """

    backbone: nn.Module

    @staticmethod
    @abstractmethod
    def views(size: int) -> Views:
        """The method's augmentations, to views of `size` pixels."""

    @abstractmethod
    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch.

        Args:
            first: (B, 3, s, s) one view of each picture.
            second: (B, 3, s, s) the other view.

        Returns:
            The scalar loss, and the (B, d) outputs of the first view, to detect a collapse.
        """

    def unscheduled(self) -> set[nn.Parameter]:
        """Parameters with a constant learning rate."""
        return set()

    def after_step(self, done: float) -> None:
        """Called after each step; `done` is the share of all steps, in (0, 1]."""


Network = Callable[[], nn.Module]


def mlp(widths: Sequence[int], *, normed_output: bool) -> nn.Sequential:
    """Linear layers with batch norm and ReLU between them; optionally batch norm at the end."""
    layers: list[nn.Module] = []
    for position, (inputs, outputs) in enumerate(pairwise(widths), start=2):
        last = position == len(widths)
        normed = normed_output or not last
        layers.append(nn.Linear(inputs, outputs, bias=not normed))
        layers += [nn.BatchNorm1d(outputs)] if normed else []
        layers += [] if last else [nn.ReLU()]
    return nn.Sequential(*layers)


def spread(outputs: Tensor) -> float:
    """Standard deviation of the unit-length outputs, averaged over channels, times sqrt(d).

    0 if all outputs have the same direction: a collapse. 1 if directions are spread evenly: z / |z|
    of an isotropic Gaussian z has the deviation 1 / sqrt(d) (Chen & He 2021, on the stop-gradient).

    Args:
        outputs: (B, d).
    """
    deviations = normalize(outputs.detach().float(), dim=1).std(dim=0, correction=0)
    return deviations.mean().item() * math.sqrt(outputs.shape[1])
