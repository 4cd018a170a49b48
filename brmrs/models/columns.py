"""The columns of all embeddings, divided among the processes of one training.

Worker r of W trains columns r d / W to (r + 1) d / W of every channel, for all users and items. A
propagation over a graph treats each column alone, so it needs no message. Sums over d do: the inner
products of a batch are added up over the workers (`Columns.sum`). Where a loss mixes columns, as a
dense layer does, the rows of the batch are put together instead (`Columns.gather`).

All workers draw the same batches and compute the same loss, so the gradient of a sum with respect
to a worker's own share is the gradient of the loss with respect to the sum: no message either.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from brmrs.graphs.sparse import stored

BLOCK = 2**22  # numbers of one message; bounds the copies that a message needs


@dataclass
class Traffic:
    """Bytes that this process has given to messages: its own share of sums and gathered rows."""

    sent: int = 0


@dataclass(frozen=True)
class Columns:
    """The columns that this process trains.

    Attributes:
        worker: r, counted from 0.
        workers: W; it divides `dim`.
        dim: d, the length of an embedding in one channel.
        here: number of workers on this machine, which share its memory.
        traffic: counts what is sent.
    """

    worker: int = 0
    workers: int = 1
    dim: int = 1
    here: int = 1
    traffic: Traffic = field(default_factory=Traffic, compare=False)

    @property
    def first(self) -> bool:
        """Whether this process also reports, and writes what is not divided."""
        return self.worker == 0

    def width(self, dim: int) -> int:
        """This worker's share of `dim` columns."""
        return dim // self.workers

    def part(self, x: Tensor) -> Tensor:
        """(..., C d) to this worker's (..., C d / W): the same columns of each of C channels."""
        if self.workers == 1:
            return x
        shares = x.reshape(*x.shape[:-1], -1, self.workers, self.width(self.dim))
        return shares[..., self.worker, :].flatten(-2)

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the workers, of any shape; differentiable (see the module)."""
        if self.workers == 1:
            return x
        total: Tensor = _Sum.apply(x, self)
        return total

    def sums(self, *parts: Tensor) -> list[Tensor]:
        """The sums over the workers of several tensors, in one message."""
        if self.workers == 1:
            return list(parts)
        total = self.sum(torch.cat([part.flatten() for part in parts]))
        split = torch.split(total, [part.numel() for part in parts])
        return [x.view(part.shape) for x, part in zip(split, parts, strict=True)]

    def gather(self, x: Tensor) -> Tensor:
        """(..., C d / W) of each worker to (..., C d), the inverse of `part`; differentiable."""
        if self.workers == 1:
            return x
        whole: Tensor = _Gather.apply(x, self)
        return whole

    def collect(self, x: Tensor) -> Tensor:
        """As `gather`, of a (rows, C d / W) table, on the CPU of the first worker; others: empty.

        No other worker ever holds the whole table.
        """
        if self.workers == 1:
            return x
        blocks = [self._collected(block) for block in torch.split(x.detach(), self._rows(x))]
        return torch.cat(blocks)

    def gradient_norm(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """() the L2 norm of the whole gradient."""
        squares = [torch.zeros(()), torch.zeros(())]  # of parameters that all hold, of divided ones
        for parameter in parameters:
            if parameter.grad is not None:
                place = int(axis_of(parameter) is not None)
                squares[place] = squares[place] + stored(parameter.grad).square().sum().cpu()
        return (squares[0] + self.sum(squares[1])).sqrt()

    def everywhere(self, value: Any) -> list[Any]:
        """The small plain value of every worker, in their order."""
        if self.workers == 1:
            return [value]
        values: list[Any] = [None] * self.workers
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Return when every worker has called this."""
        if self.workers > 1:
            dist.barrier()

    def _rows(self, x: Tensor) -> int:
        return max(1, BLOCK // max(1, x.shape[-1] * self.workers))

    def _collected(self, block: Tensor) -> Tensor:
        block = block.cpu().contiguous()
        found = [torch.empty_like(block) for _ in range(self.workers)] if self.first else None
        dist.gather(block, found)
        return self.joined(found) if found else block[:0]

    def joined(self, parts: list[Tensor]) -> Tensor:
        """W shares (..., C d / W) side by side as (..., C d)."""
        shares = [part.reshape(*part.shape[:-1], -1, self.width(self.dim)) for part in parts]
        return torch.stack(shares, dim=-2).flatten(-3)


WHOLE = Columns()  # one process trains every column


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, columns: Columns) -> Tensor:
        del ctx
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        columns.traffic.sent += total.nbytes
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        del ctx
        return gradients[0], None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, columns: Columns) -> Tensor:
        ctx.columns = columns
        own = x.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(columns.workers)]
        dist.all_gather(parts, own)
        columns.traffic.sent += own.nbytes
        return columns.joined(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.columns.part(gradients[0]).contiguous(), None


def divided(values: Tensor, axis: int, of: Columns) -> nn.Parameter:
    """A parameter, marked as divided along an axis: -1 a table's columns, 0 a layer's outputs."""
    parameter = nn.Parameter(values)
    if of.workers > 1:
        parameter.divided_along = axis  # type: ignore[attr-defined]
    return parameter


def axis_of(parameter: nn.Parameter) -> int | None:
    """The axis along which a parameter is divided; None: every worker has the whole."""
    return getattr(parameter, "divided_along", None)


def whole_state(model: nn.Module, columns: Columns) -> dict[str, Tensor]:
    """`model.state_dict()` of one process, on the first worker; elsewhere the tables are empty."""
    state = dict(model.state_dict())
    for name, parameter in model.named_parameters():
        axis = axis_of(parameter)
        if columns.workers > 1 and axis is not None:
            x = state[name].movedim(axis, -1)
            rows = x if x.dim() > 1 else x.unsqueeze(0)
            state[name] = columns.collect(rows).reshape(*x.shape[:-1], -1).movedim(-1, axis)
    return state
