"""The optimiser: Adam with optional clipping, learning-rate schedule and averaging of the weights.

`precision: bf16` runs the dense products of the loss (`x @ W`, linear layers) in bfloat16, with
torch's autocast. These stay float32: the weights, their gradients and average, Adam's moments,
sparse products, sums and losses, validation, and the bundle.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_
from torch.optim.lr_scheduler import LambdaLR

from brmrs.config.learning import TrainConfig
from brmrs.models.columns import WHOLE, Columns


class Optimiser:
    """Adam with gradient clipping, a schedule of the learning rate, and an average of the weights.

    An option that is off does not change the result.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        config: TrainConfig,
        steps: int,
        columns: Columns = WHOLE,
    ):
        """Prepare.

        Args:
            parameters: to train.
            config: the learning rate and its schedule, clipping, averaging.
            steps: in an epoch.
            columns: those of the embeddings that this process trains.
        """
        self.columns = columns
        self.parameters = parameters
        self.clip_norm = config.clip_norm
        self.adam = torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
        self.rate = LambdaLR(self.adam, lambda step: rate_factor(config, step, steps))
        self.decay = config.average
        self.average: list[Tensor] = []  # of each parameter; empty before the first step

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a scalar."""
        self.adam.zero_grad()
        torch.autograd.backward(loss)
        if self.clip_norm is not None:
            self._clip(self.clip_norm)
        self.adam.step()
        self.rate.step()
        if self.decay is not None:
            self._add_to_average(self.decay)

    def _clip(self, largest: float) -> None:
        if self.columns.workers == 1:
            clip_grad_norm_(self.parameters, largest)
        else:
            norm = self.columns.gradient_norm(self.parameters)
            clip_grads_with_norm_(self.parameters, largest, norm)

    @torch.no_grad()
    def _add_to_average(self, decay: float) -> None:
        """Average a <- decay a + (1 - decay) w, from the weights after the first step."""
        if not self.average:
            self.average = [parameter.detach().clone() for parameter in self.parameters]
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.lerp_(parameter, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the context, the parameters hold their averages, if averaging is on."""
        if not self.average:
            yield
            return
        own = [parameter.detach().clone() for parameter in self.parameters]
        _put(self.average, self.parameters)
        try:
            yield
        finally:
            _put(own, self.parameters)

    def state_dict(self) -> dict[str, Any]:
        """The state that the next step depends on, without the parameters."""
        return {
            "adam": self.adam.state_dict(),
            "rate": self.rate.state_dict(),
            "average": self.average,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a result of `state_dict`."""
        self.adam.load_state_dict(state["adam"])
        self.rate.load_state_dict(state["rate"])
        self.average = state["average"]


def rate_factor(config: TrainConfig, step: int, steps: int) -> float:
    """The factor of the learning rate in a step.

    It is (t + 1) / W in the W steps of the warm-up. After that it is 1, or (1 + cos(pi t / T)) / 2,
    with t counted from the end of the warm-up and T the steps from there to the end of `epochs`.

    Args:
        config: the schedule.
        step: counted from 0 over all epochs.
        steps: in an epoch.
    """
    rising = config.warmup * steps
    if step < rising:
        return (step + 1) / rising
    if config.schedule == "constant":
        return 1.0
    falling = max(1, config.epochs * steps - rising)
    return (1 + math.cos(math.pi * min(1.0, (step - rising) / falling))) / 2


@torch.no_grad()
def _put(values: list[Tensor], parameters: list[nn.Parameter]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
