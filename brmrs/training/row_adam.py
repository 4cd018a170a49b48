"""Adam for tables whose gradients are sparse: a step reads and writes only the rows of the step."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding


class RowAdam(torch.optim.Optimizer):
    """Lazy Adam: the moments of a row decay, and the row moves, only in steps that have read it.

    The update is that of `torch.optim.SparseAdam`, which takes 1.6 times as long, as it selects
    the rows of the moments by a product with a sparse mask.

    The correction of the bias counts all steps. So the first update of a row that is first read
    late in the training is up to (1 - b1) / sqrt(1 - b2) = 3.2 times the learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float):
        """Prepare.

        Args:
            parameters: (n, d) tables.
            learning_rate: of Adam.
        """
        super().__init__(parameters, {"lr": learning_rate, "betas": (0.9, 0.999), "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows of the coalesced sparse gradients."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: nn.Parameter, sparse: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        state["step"] += 1
        rows, gradient = sparse.indices()[0], sparse.values()
        (b1, b2), step = group["betas"], state["step"]
        mean = embedding(rows, state["mean"]).lerp_(gradient, 1 - b1)
        state["mean"].index_copy_(0, rows, mean)
        square = embedding(rows, state["square"]).mul_(b2)
        square.addcmul_(gradient, gradient, value=1 - b2)
        state["square"].index_copy_(0, rows, square)
        size = group["lr"] * (1 - b2**step) ** 0.5 / (1 - b1**step)
        update = mean.div_(square.sqrt_().add_(group["eps"])).mul_(-size)
        parameter.index_copy_(0, rows, update.add_(embedding(rows, parameter)))
