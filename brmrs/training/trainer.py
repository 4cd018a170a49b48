"""The training loop: early stopping on a validation metric, checkpoints, divergence."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from brmrs.columns import FUSED, LOSS, SPLIT_NAMES, VALIDATION
from brmrs.config.learning import TrainConfig
from brmrs.evaluation.ranking import NotFiniteError
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch, Recommender, Scorer
from brmrs.system import progress
from brmrs.system.checkpoint import Checkpoints
from brmrs.system.heap import LARGEST_KEPT, freed_memory_kept, keep_freed_memory
from brmrs.training.divergence import DivergenceError, culprit, in_parameters
from brmrs.training.optimiser import Optimiser
from brmrs.training.sampling import Sampler, seeded

LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_CHECKPOINTS = 5.0
_SAMPLER, _MODEL = 0, 1  # the random streams of an epoch

Select = Callable[[Scorer], float]


@dataclass
class History:
    """The state of a training so far.

    Attributes:
        epoch: the last finished one, counted from 1.
        best_epoch: the one with the best selection metric; 0 before the first.
        best_value: its selection metric.
        best_state: its parameters.
        curve: (epoch, kind, name, value) points, see `columns.CURVE`.
        seconds: of all epochs including validation; no artifact depends on it.
        sent_per_step: bytes that this process gave to messages in a step of the last epoch; 0 where
            one process trains.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -1.0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    curve: list[tuple[int, str, str, float]] = field(default_factory=list)
    seconds: float = 0.0
    sent_per_step: float = 0.0


def fit(
    model: Recommender,
    train: UserItems,
    select: Select,
    config: TrainConfig,
    checkpoints: Checkpoints | None = None,
    drawn: Tensor | None = None,
) -> History:
    """Train, and leave the model with the parameters of its best epoch.

    Args:
        model: on the device of `train`.
        train: the training items of each user.
        select: the selection metric of the fused branch, larger is better.
        config: batches, patience, optimisation, seed.
        checkpoints: training continues from the newest one and saves there. A divergence is traced
            from it; without any, the error describes the state at the end of the epoch.
        drawn: see `Sampler`.

    Raises:
        DivergenceError: a loss, a gradient, a parameter or a score is NaN or infinite.
    """
    if not model.trainable:
        value = select(_fused(model))
        return History(best_value=value, curve=[_validation(0, config, value)])
    run = _Run(
        model,
        Sampler(train, model.n_negatives, config.draw, drawn),
        select,
        config,
        checkpoints,
    )
    run.resume()
    with (
        freed_memory_reused(model),
        progress.task(
            f"train {type(model).__name__}", config.epochs, progress.EPOCHS, log_first=True
        ) as bar,
    ):
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
    checkpoints: Checkpoints | None
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        parameters = list(self.model.parameters())
        self.device = parameters[0].device
        self.batches = self.sampler.batches(self.config.batch_size)
        self.columns = self.model.columns
        by_row = self.model.by_row()
        self.optimiser = Optimiser(parameters, self.config, self.batches, self.columns, by_row)
        self.saved = time.monotonic()
        self.pause = SECONDS_BETWEEN_CHECKPOINTS

    @property
    def exhausted(self) -> bool:
        """Whether the epoch was validated and the best one is `patience` epochs ago."""
        epoch = self.history.epoch
        return self._due(epoch) and epoch - self.history.best_epoch >= self.config.patience

    def epoch(self) -> str:
        """Train one epoch, and validate it if it is due; returns the text for the progress bar."""
        started = time.monotonic()
        history, config = self.history, self.config
        number = history.epoch + 1
        losses = self._train(number)
        shown = [f"{name} {loss:.4f}" for name, loss in losses.items()]
        history.curve += [(number, LOSS, name, loss) for name, loss in losses.items()]
        if self._due(number):
            value = self._validate(number)
            history.curve.append(_validation(number, config, value))
            shown.append(f"{config.selection} {value:.4f}")
        if history.best_epoch:
            shown.append(f"(best {history.best_value:.4f} in epoch {history.best_epoch})")
        history.epoch = number
        history.seconds += time.monotonic() - started
        overdue = time.monotonic() - self.saved >= self.pause
        if self.columns.everywhere(overdue)[0]:
            self._save()
        return " ".join(shown)

    def _due(self, epoch: int) -> bool:
        """Whether this epoch is validated."""
        return epoch % self.config.validate_every == 0 or epoch == self.config.epochs

    def _validate(self, epoch: int) -> float:
        """The selection metric; keeps a copy of the weights if it is the best so far."""
        history = self.history
        with self.optimiser.averaged():
            try:
                value = self.select(_fused(self.model))
            except NotFiniteError as error:
                raise self._diverged(epoch, str(error).partition(":")[0]) from error
            if value > history.best_value:
                history.best_epoch, history.best_value = epoch, value
                history.best_state = {
                    name: tensor.clone() for name, tensor in self.model.state_dict().items()
                }
        return value

    def _train(self, epoch: int) -> dict[str, float]:
        """One pass over the training interactions; returns the mean of each loss term."""
        names: list[str] = []
        steps: list[Tensor] = []
        sent = self.columns.traffic.sent
        for terms in self._batches(epoch):
            self._step(terms)
            names = list(terms)
            steps.append(torch.stack([term.detach() for term in terms.values()]))
        losses = torch.stack(steps).double()
        self.history.sent_per_step = (self.columns.traffic.sent - sent) / len(steps)
        # Once an epoch, because a check at each step would stall a GPU.
        fault = _in_losses(names, losses) or in_parameters(dict(self.model.named_parameters()))
        if fault is not None:
            raise self._diverged(*(self._first_fault(epoch) or (epoch, fault)))
        return dict(zip(names, losses.mean(dim=0).tolist(), strict=True))

    def _batches(self, epoch: int) -> Iterator[dict[str, Tensor]]:
        """The loss terms of each batch of an epoch; a second call gives the same batches."""
        config, model = self.config, self.model
        generator = seeded(config.seed, epoch, _MODEL, self.device)
        model.train()
        model.begin_epoch(generator)
        order = seeded(config.seed, epoch, _SAMPLER, self.device)
        for batch in self.sampler.epoch(config.batch_size, order):
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=config.precision == "bf16"
            ):
                terms = model.loss(batch, generator)
            yield {name: term.float() for name, term in terms.items()}

    def _step(self, terms: dict[str, Tensor]) -> None:
        self.optimiser.step(torch.stack(list(terms.values())).sum())

    def _diverged(self, epoch: int, fault: str) -> DivergenceError:
        return DivergenceError(
            f"training diverged: epoch {epoch} of {self.batches} batches, {fault}; lower "
            f"train.learning_rate (now {self.config.learning_rate:g}), or set train.clip_norm"
        )

    def _first_fault(self, last: int) -> tuple[int, str] | None:
        """Train again from the checkpoint with checks at every step, to find the first fault.

        Args:
            last: the epoch at whose end a fault was seen.

        Returns:
            The epoch and the fault; None without a checkpoint, or where the fault does not recur.
        """
        if self.columns.workers > 1:  # the others go on, so no message would be answered
            return None
        state = self.checkpoints and self.checkpoints.load(self.device, self._identity())
        if not state:
            return None
        self._restore(state["state"])
        parameters = dict(self.model.named_parameters())
        for epoch in range(state["history"]["epoch"] + 1, last + 1):
            fault = culprit(self._batches(epoch), parameters, self._step)
            if fault is not None:
                return epoch, fault
        return None

    def resume(self) -> None:
        """Continue from the checkpoint of this run; save one if there is none."""
        state = self.checkpoints and self.checkpoints.load(self.device, self._identity())
        if not state:
            self._save()
            return
        self._restore(state["state"])
        self.history = History(**state["history"])
        LOG.info("training continues after epoch %d", self.history.epoch)

    def _save(self) -> None:
        """Save the state, but not every epoch, as losing an epoch costs less than saving each.

        Saves take at most about a tenth of the time.
        """
        if self.checkpoints is None:
            return
        started = time.monotonic()
        state = {
            "run": self._identity(),
            "state": self._state(),
            "history": vars(self.history),
        }
        self.checkpoints.save(self.history.epoch, state)
        self.saved = time.monotonic()
        self.pause = SECONDS_BETWEEN_CHECKPOINTS * max(1.0, 2 * (self.saved - started))

    def _state(self) -> dict[str, Any]:
        """The state that the next epoch depends on."""
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _identity(self) -> dict[str, Any]:
        shapes = {name: list(value.shape) for name, value in self.model.state_dict().items()}
        train = self.config.key()
        return {"model": type(self.model).__name__, "shapes": shapes, "train": train}


def freed_memory_reused(model: nn.Module) -> AbstractContextManager[None]:
    """Keep freed memory in the process for the next step (brmrs/system/heap.py)."""
    keep_freed_memory()
    largest = max(parameter.nbytes for parameter in model.parameters())
    return freed_memory_kept() if largest > LARGEST_KEPT else nullcontext()


@torch.no_grad()
def _fused(model: Recommender) -> Scorer:
    model.eval()
    branch, columns = model.branches()[FUSED], model.columns
    if columns.workers == 1:
        return branch
    assert isinstance(branch, Branch)  # as `by_dimension` promises
    return Branch(columns.gather(branch.p), columns.gather(branch.q))


def _validation(epoch: int, config: TrainConfig, value: float) -> tuple[int, str, str, float]:
    return epoch, SPLIT_NAMES[VALIDATION], config.selection, value


def _in_losses(names: list[str], losses: Tensor) -> str | None:
    """Describes the first of (batches, terms) losses that is not finite; None if all are."""
    faults = (~losses.isfinite()).nonzero().tolist()
    if not faults:
        return None
    batch, term = faults[0]
    return f"batch {batch + 1}, loss term {names[term]} is {losses[batch, term].item()}"
