"""The optimiser: Adam with optional clipping, learning-rate schedule and averaging of the weights.

`precision: bf16` runs the dense products of the loss (`x @ W`, linear layers) in bfloat16, with
torch's autocast. These stay float32: the weights, their gradients and average, Adam's moments,
sparse products, sums and losses, validation, and the bundle.

Tables with sparse gradients (`train.sampled_neighbours`) have `RowAdam`.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR

from brmrs.config.learning import TrainConfig
from brmrs.graphs.sparse import stored
from brmrs.models.columns import WHOLE, Columns
from brmrs.training.average import Average
from brmrs.training.row_adam import RowAdam


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
        by_row: Collection[nn.Parameter] = (),
    ):
        """Prepare.

        Args:
            parameters: to train.
            config: the learning rate and its schedule, clipping, averaging.
            steps: in an epoch.
            columns: those of the embeddings that this process trains.
            by_row: the parameters with sparse gradients.
        """
        self.columns = columns
        self.parameters = parameters
        self.clip_norm = config.clip_norm
        self.by_row = list(by_row)
        dense = [each for each in parameters if not any(each is other for other in by_row)]
        self.optimisers: list[torch.optim.Optimizer] = []
        if dense:
            self.optimisers.append(torch.optim.Adam(dense, lr=config.learning_rate, fused=True))
        if self.by_row:
            self.optimisers.append(RowAdam(self.by_row, config.learning_rate))
        self.rates = [
            LambdaLR(each, lambda step: rate_factor(config, step, steps))
            for each in self.optimisers
        ]
        self.average = None
        if config.average is not None:
            self.average = Average(parameters, config.average, self.by_row)

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a scalar."""
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        torch.autograd.backward(loss)
        for parameter in self.by_row:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.coalesce()  # each row once
        if self.clip_norm is not None:
            self._clip(self.clip_norm)
        if self.average:
            self.average.before_step()
        for optimiser in self.optimisers:
            optimiser.step()
        for rate in self.rates:
            rate.step()
        if self.average:
            self.average.after_step()

    def _clip(self, largest: float) -> None:
        if self.columns.workers == 1 and not self.by_row:
            clip_grad_norm_(self.parameters, largest)
        else:
            norm = self.columns.gradient_norm(self.parameters)
            factor = (largest / (norm + 1e-6)).clamp(max=1)
            for parameter in self.parameters:
                if parameter.grad is not None:
                    stored(parameter.grad).mul_(factor)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the context, the parameters hold their averages, if averaging is on."""
        if self.average is None or not self.average.values:
            yield
            return
        own = [parameter.detach().clone() for parameter in self.parameters]
        _put(self.average.caught_up(), self.parameters)
        try:
            yield
        finally:
            _put(own, self.parameters)

    def state_dict(self) -> dict[str, Any]:
        """The state that the next step depends on, without the parameters."""
        return {
            "optimisers": [each.state_dict() for each in self.optimisers],
            "rates": [each.state_dict() for each in self.rates],
            "average": self.average.state_dict() if self.average else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a result of `state_dict`."""
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for rate, saved in zip(self.rates, state["rates"], strict=True):
            rate.load_state_dict(saved)
        if self.average:
            self.average.load_state_dict(state["average"])


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
