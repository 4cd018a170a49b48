"""Barlow Twins (Zbontar et al., ICML 2021, 'Self-Supervised Learning via Redundancy Reduction')."""

import torch
from torch import Tensor, nn

from brmrs.features.self_supervised.base import Method, Network, mlp
from brmrs.features.self_supervised.views import Views, unlike

WIDTH = 2048  # of the projector; 8192 in the paper, 16 times the weights
LAMBDA = 0.005  # weight of the redundancy term; 0.0051 in the released code


class BarlowTwins(Method):
    """The two views' projections correlate feature by feature, and with nothing else.

    With C_ij the correlation over the batch of feature i of the first view and j of the second,

        L = sum_i (1 - C_ii)^2 + lambda sum_i sum_(j != i) C_ij^2

    The loss is L / d for d features. LARS, the paper's optimiser, does not depend on the scale of a
    loss. SGD does, and does not converge on a sum over 2048 features at usual learning rates.
    """

    def __init__(self, network: Network, dimension: int):
        super().__init__()
        self.backbone = network()
        self.projector = mlp((dimension, WIDTH, WIDTH, WIDTH), normed_output=False)
        self.standardise = nn.BatchNorm1d(WIDTH, affine=False)

    @staticmethod
    def views(size: int) -> Views:
        """As BYOL's."""
        return unlike(size)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """L / d, and the projection of the first view."""
        z_1, z_2 = (self.projector(self.backbone(view)) for view in (first, second))
        correlations = self.standardise(z_1).T @ self.standardise(z_2) / len(z_1)
        return redundancy(correlations) / WIDTH, z_1


def redundancy(correlations: Tensor) -> Tensor:
    """L of a (d, d) cross-correlation matrix."""
    diagonal = torch.diagonal(correlations)
    invariance = (1 - diagonal).square().sum()
    return invariance + LAMBDA * (correlations.square().sum() - diagonal.square().sum())
