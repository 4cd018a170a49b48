"""BYOL (Grill et al., NeurIPS 2020, 'Bootstrap Your Own Latent')."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from brmrs.features.self_supervised.base import Method, Network, mlp
from brmrs.features.self_supervised.views import Views, unlike

HIDDEN, WIDTH = 4096, 256  # of projector and predictor
BASE_DECAY = 0.99  # tau_base; the released code has .996 for 1000 epochs, .99 for 100 and 300


class BYOL(Method):
    """An online network predicts the projection of a target, which is its moving average.

    With q(z) the online prediction and z' the target's projection, both of unit length,

        L = |q(z_1) - z'_2|^2 + |q(z_2) - z'_1|^2 = sum of 2 - 2 <q(z), z'>
        xi <- tau xi + (1 - tau) theta
        tau = 1 - (1 - tau_base) (cos(pi k / K) + 1) / 2        at step k of K

    The target starts as a copy. The released code initialises it independently and reports no
    difference.
    """

    def __init__(self, network: Network, dimension: int):
        super().__init__()
        self.backbone, self.target_backbone = network(), network()
        widths = (dimension, HIDDEN, WIDTH)
        self.projector, self.target_projector = (mlp(widths, normed_output=False) for _ in "ot")
        self.target_projector.load_state_dict(self.projector.state_dict())
        self.predictor = mlp((WIDTH, HIDDEN, WIDTH), normed_output=False)
        for parameter in self._target():
            parameter.requires_grad_(False)

    @staticmethod
    def views(size: int) -> Views:
        """The first view is always blurred; only the second may be solarised."""
        return unlike(size)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """L and z_1."""
        z_1, z_2 = (self.projector(self.backbone(view)) for view in (first, second))
        with torch.no_grad():
            targets = [self.target_projector(self.target_backbone(v)) for v in (first, second)]
        loss = _distance(self.predictor(z_1), targets[1]) + _distance(
            self.predictor(z_2), targets[0]
        )
        return loss, z_1

    @torch.no_grad()
    def after_step(self, done: float) -> None:
        """Move the target."""
        tau = 1 - (1 - BASE_DECAY) * (math.cos(math.pi * done) + 1) / 2
        online = [*self.backbone.parameters(), *self.projector.parameters()]
        for target, source in zip(self._target(), online, strict=True):
            target.lerp_(source, 1 - tau)

    def _target(self) -> list[nn.Parameter]:
        return [*self.target_backbone.parameters(), *self.target_projector.parameters()]


def _distance(q: Tensor, z: Tensor) -> Tensor:
    return (2 - 2 * cosine_similarity(q, z)).mean()
