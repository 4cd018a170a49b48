"""The training loop: two views of each picture, SGD, a checkpoint after every epoch."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from brmrs.columns import LOSS, SPREAD
from brmrs.config.features import SelfSupervisionConfig
from brmrs.errors import UserError
from brmrs.features.self_supervised.base import Method, spread
from brmrs.features.self_supervised.pictures import Pictures
from brmrs.system import checkpoint, progress

LOG = logging.getLogger(__name__)
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
COLLAPSED = 0.05  # of `spread`; below it the outputs do not distinguish pictures

Point = tuple[int, str, str, float]  # a row of columns.CURVE


@dataclass
class Fit:
    """The training of one method; it can stop after any epoch and resume in another process.

    Plain SGD for all methods: LARS, which BYOL and Barlow Twins use, is for batches of thousands.

    Attributes:
        method: trained in place.
        pictures: at least two.
        config: epochs, batch size, learning rate.
        seed: of the order and the views.
    """

    method: Method
    pictures: Pictures
    config: SelfSupervisionConfig
    seed: int

    def __post_init__(self) -> None:
        self.device = next(self.method.parameters()).device
        self.views = self.method.views(self.config.size)
        self.batch_size = min(self.config.batch_size, len(self.pictures))
        self.steps = len(self.pictures) // self.batch_size  # an incomplete batch is left out
        unscheduled = self.method.unscheduled()
        trained = [p for p in self.method.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p not in unscheduled], "falls": True},
            {"params": [p for p in trained if p in unscheduled], "falls": False},
        ]
        self.optimizer = torch.optim.SGD(
            groups, self.config.learning_rate, MOMENTUM, weight_decay=WEIGHT_DECAY
        )

    def run(self, path: Path) -> list[Point]:
        """Train, from the checkpoint at `path` if there is one.

        Returns:
            The loss and the spread of the outputs of every epoch, means over its batches.

        Raises:
            UserError: the outputs collapsed, or the loss is not finite.
        """
        curve = self._resume(path)
        self.method.train()
        with progress.task("train the backbone", self.config.epochs, progress.EPOCHS) as task:
            task.advance(len(curve) // 2)
            for epoch in range(len(curve) // 2 + 1, self.config.epochs + 1):
                loss, width = self._epoch(epoch)
                curve += [(epoch, LOSS, "loss", loss), (epoch, SPREAD, "output_std", width)]
                state = {
                    "method": self.method.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "curve": curve,
                }
                checkpoint.save(path, state)
                task.advance(note=f"loss {loss:.4f}, spread {width:.3f}")
                if width < COLLAPSED:
                    LOG.warning("epoch %d: the outputs collapse, spread %.4f", epoch, width)
        if curve[-1][-1] < COLLAPSED:
            raise UserError(
                f"features.visual: the outputs of {type(self.method).__name__} collapsed (spread "
                f"{curve[-1][-1]:.4f}, of 1): its vectors would carry no information; lower "
                "training.learning_rate, raise training.batch_size or choose another method"
            )
        return curve

    def _resume(self, path: Path) -> list[Point]:
        state = checkpoint.load(path, self.device)
        if state is None:
            return []
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        return [(epoch, kind, name, value) for epoch, kind, name, value in state["curve"]]

    def _epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the pictures: mean loss, mean spread."""
        order = torch.randperm(len(self.pictures), generator=_generator(self.seed, epoch))
        sums = np.zeros(2)
        for step in range(self.steps):
            self._set_rate((epoch - 1) * self.steps + step)
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            loss, outputs = self.method(*self._batch(epoch, rows.tolist()))
            if not torch.isfinite(loss):
                raise UserError(
                    f"features.visual: the loss of {type(self.method).__name__} is not finite in "
                    f"epoch {epoch}; lower training.learning_rate"
                )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            done = ((epoch - 1) * self.steps + step + 1) / (self.config.epochs * self.steps)
            self.method.after_step(done)
            sums += loss.item(), spread(outputs)
        mean_loss, mean_spread = sums / self.steps
        return float(mean_loss), float(mean_spread)

    def _set_rate(self, step: int) -> None:
        share = step / (self.config.epochs * self.steps)
        factor = (1 + math.cos(math.pi * share)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (factor if group["falls"] else 1.0)

    def _batch(self, epoch: int, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Two views of each picture, from a separate generator per picture."""
        pairs = [
            self.views.of(self.pictures[row], _generator(self.seed, epoch, row)) for row in rows
        ]
        first, second = (
            torch.stack(views).to(self.device, memory_format=torch.channels_last)
            for views in zip(*pairs, strict=True)
        )
        return first, second


def without_dropout(network: nn.Module) -> nn.Module:
    """The network without dropout and stochastic depth: they draw from the global generator.

    The views are random anyway, and the ResNets of the methods' papers have neither.
    """
    for module in network.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0
    return network


def _generator(*seeds: int) -> torch.Generator:
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
