"""The training loop: Adam, early stopping on a validation metric, checkpoints."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brmrs import checkpoint, progress
from brmrs.columns import FUSED, LOSS, SPLIT_NAMES, VALIDATION
from brmrs.config import TrainConfig
from brmrs.errors import UserError
from brmrs.models.base import Recommender, Scorer
from brmrs.training.heap import keep_freed_memory
from brmrs.training.sampling import Sampler, seeded
from brmrs.user_items import UserItems

LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_CHECKPOINTS = 5.0
_SAMPLER, _MODEL = 0, 1  # the random streams of an epoch

Select = Callable[[Scorer], float]


@dataclass
class History:
    """What training has found so far.

    Attributes:
        epoch: the last finished one, counted from 1.
        best_epoch: the one with the best selection metric; 0 before the first.
        best_value: its selection metric.
        best_state: its parameters.
        curve: (epoch, kind, name, value) points, see `columns.CURVE`.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -1.0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    curve: list[tuple[int, str, str, float]] = field(default_factory=list)


def fit(
    model: Recommender,
    train: UserItems,
    select: Select,
    config: TrainConfig,
    checkpoint_file: Path | None = None,
) -> History:
    """Train, and leave the model with the parameters of its best epoch.

    Args:
        model: on the device where `train` lies.
        train: the training items of each user.
        select: the selection metric of the fused branch, larger is better.
        config: batches, patience, learning rate, seed.
        checkpoint_file: where to go on from, if it exists, and where to save to.

    Raises:
        UserError: the loss or a parameter is not finite any more.
    """
    if not model.trainable:
        value = select(_fused(model))
        return History(best_value=value, curve=[_validation(0, config, value)])
    keep_freed_memory()
    run = _Run(model, Sampler(train, model.negatives), select, config, checkpoint_file)
    run.resume()
    with progress.task(f"train {type(model).__name__}", config.epochs) as bar:
        bar.advance(run.history.epoch)
        while run.history.epoch < config.epochs and not run.exhausted:
            bar.advance(1, run.epoch())
    model.load_state_dict(run.history.best_state)
    return run.history


@dataclass
class _Run:
    """One training run: the mutable state, and the steps on it."""

    model: Recommender
    sampler: Sampler
    select: Select
    config: TrainConfig
    file: Path | None
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        rate = self.config.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True)
        self.device = next(self.model.parameters()).device
        self.saved = time.monotonic()

    @property
    def exhausted(self) -> bool:
        """Whether the best epoch lies `patience` epochs back."""
        return self.history.epoch - self.history.best_epoch >= self.config.patience

    def epoch(self) -> str:
        """Train one epoch, validate, keep the best, save; returns what to show."""
        number = self.history.epoch + 1
        losses = self._train(number)
        value = self.select(_fused(self.model))
        history = self.history
        history.curve += [(number, LOSS, name, loss) for name, loss in losses.items()]
        history.curve.append(_validation(number, self.config, value))
        if value > history.best_value:
            history.best_epoch, history.best_value = number, value
            history.best_state = {
                name: tensor.clone() for name, tensor in self.model.state_dict().items()
            }
        history.epoch = number
        self._save()
        terms = " ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        best = f"best {history.best_value:.4f} in epoch {history.best_epoch}"
        return f"{terms} {self.config.selection} {value:.4f} ({best})"

    def _train(self, epoch: int) -> dict[str, float]:
        """One pass over the training interactions; returns the mean of each loss term."""
        config, model = self.config, self.model
        generator = seeded(config.seed, epoch, _MODEL, self.device)
        model.train()
        model.begin_epoch(generator)
        steps: list[Tensor] = []
        names: list[str] = []
        order = seeded(config.seed, epoch, _SAMPLER, self.device)
        for batch in self.sampler.epoch(config.batch_size, order):
            terms = model.loss(batch, generator)
            self.optimizer.zero_grad()
            torch.autograd.backward(torch.stack(list(terms.values())).sum())
            self.optimizer.step()
            names = list(terms)
            steps.append(torch.stack([term.detach() for term in terms.values()]))
        losses = torch.stack(steps).double()
        self._check(epoch, names, losses)
        return dict(zip(names, losses.mean(dim=0).tolist(), strict=True))

    def _check(self, epoch: int, names: list[str], losses: Tensor) -> None:
        """Refuse what is not finite. Once an epoch: looking at each step would stall a GPU."""
        advice = f"lower train.learning_rate (now {self.config.learning_rate:g})"
        faults = (~losses.isfinite()).nonzero().tolist()
        if faults:
            batch, term = faults[0]
            value = losses[batch, term].item()
            raise UserError(
                f"training diverged: epoch {epoch}, batch {batch + 1} of {len(losses)}, "
                f"loss term {names[term]} is {value}; {advice}"
            )
        for name, parameter in self.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise UserError(
                    f"training diverged: after epoch {epoch} parameter {name} is not finite; "
                    f"{advice}"
                )

    def resume(self) -> None:
        """Go on from the checkpoint, if there is a sound one of this very run."""
        state = self.file and checkpoint.load(self.file, self.device)
        if not state:
            return
        if state["run"] != self._identity():
            LOG.warning("%s is of another training run and ignored", self.file)
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = History(**state["history"])
        LOG.info("training goes on after epoch %d", self.history.epoch)

    def _save(self) -> None:
        """Save at most every few seconds: a lost epoch costs less than saving each one."""
        if self.file is None or time.monotonic() - self.saved < SECONDS_BETWEEN_CHECKPOINTS:
            return
        state = {
            "run": self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": vars(self.history),
        }
        checkpoint.save(self.file, state)
        self.saved = time.monotonic()

    def _identity(self) -> dict[str, Any]:
        shapes = {name: list(value.shape) for name, value in self.model.state_dict().items()}
        train = self.config.key()
        return {"model": type(self.model).__name__, "shapes": shapes, "train": train}


@torch.no_grad()
def _fused(model: Recommender) -> Scorer:
    model.eval()
    return model.branches()[FUSED]


def _validation(epoch: int, config: TrainConfig, value: float) -> tuple[int, str, str, float]:
    return epoch, SPLIT_NAMES[VALIDATION], config.selection, value
