"""The moving average of the weights, where only some rows of the tables change in a step."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn


class Average:
    """a <- decay a + (1 - decay) w after each step, from the weights after the first one.

    A row that a step leaves unchanged is averaged later, over all steps since: a <- w + decay^k
    (a - w). So a step costs what its rows cost.

    Attributes:
        values: the average of each parameter; empty before the first step. Rows may be behind
            until `caught_up`.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], decay: float, by_row: Collection[nn.Parameter]
    ):
        """Prepare.

        Args:
            parameters: all.
            decay: per step.
            by_row: those with sparse gradients.
        """
        self.parameters, self.decay = parameters, decay
        self.by_row = [any(parameter is each for each in by_row) for parameter in parameters]
        self.step = 0
        self.values: list[Tensor] = []
        self.steps: list[Tensor] = []  # of each row, the step up to which it is averaged

    @torch.no_grad()
    def before_step(self) -> None:
        """Average the rows that are about to change up to the last step."""
        if self.values:
            self._average_rows()

    @torch.no_grad()
    def after_step(self) -> None:
        """Average what has changed."""
        self.step += 1
        if not self.values:
            self.values = [parameter.detach().clone() for parameter in self.parameters]
            counts = [len(p) if rows else 0 for p, rows in self._each()]
            device = self.parameters[0].device
            self.steps = [torch.ones(count, dtype=torch.int64, device=device) for count in counts]
            return
        for value, (parameter, rows) in zip(self.values, self._each(), strict=True):
            if not rows:
                value.lerp_(parameter, 1 - self.decay)
        self._average_rows()

    @torch.no_grad()
    def caught_up(self) -> list[Tensor]:
        """The average of each parameter, all rows up to the last step."""
        for place, (parameter, rows) in enumerate(self._each()):
            if rows:
                self._average(place, torch.arange(len(parameter), device=parameter.device))
        return self.values

    def _each(self) -> list[tuple[nn.Parameter, bool]]:
        return list(zip(self.parameters, self.by_row, strict=True))

    def _average_rows(self) -> None:
        for place, (parameter, rows) in enumerate(self._each()):
            if rows and parameter.grad is not None:
                self._average(place, parameter.grad.indices()[0])

    def _average(self, place: int, rows: Tensor) -> None:
        """Average (n,) rows of a parameter, each once, up to the last step."""
        value, weights = self.values[place], self.parameters[place].detach()[rows]
        passed = self.decay ** (self.step - self.steps[place][rows]).to(value.dtype)
        value[rows] = torch.lerp(weights, value[rows], passed.unsqueeze(1))
        self.steps[place][rows] = self.step

    def state_dict(self) -> dict[str, object]:
        """The state that the next step depends on, without the parameters."""
        return {"step": self.step, "values": self.values, "steps": self.steps}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore a result of `state_dict`."""
        for name, value in state.items():
            setattr(self, name, value)
