"""Work for the processes of `by_dimension.launch`; they import it from here."""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.config.learning import TrainConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.models.base import Recommender, Scorer
from brmrs.models.columns import Columns, whole_state
from brmrs.models.registry import build
from brmrs.system import checkpoint
from brmrs.training import by_dimension, trainer
from brmrs.training.optimiser import Optimiser
from brmrs.training.sampling import Sampler, seeded
from brmrs.training.stage import bundle_parts, prepare

CPU = torch.device("cpu")


def train_all(
    columns: Columns, on: torch.device, inputs: dict[str, Path], jobs: dict[str, Any], steps: int
) -> dict[str, Any]:
    """By job: what `train_steps` gives."""
    torch.set_num_threads(1)
    found = {}
    for name, values in jobs.items():
        config = PipelineConfig.model_validate(values)
        own = Columns(columns.worker, columns.workers, config.model.model_dump()["dim"])
        found[name] = train_steps(own, on, inputs, config, steps)
    return found


def train_steps(
    columns: Columns, on: torch.device, inputs: dict[str, Path], config: PipelineConfig, steps: int
) -> dict[str, Any]:
    """The first weights, the losses of each step, the last weights and branches, and sizes."""
    ready = prepare(inputs, config, on, columns)
    model = build(config.model, ready.data, config.train.seed)
    first = numbers(whole_state(model, columns))
    sampler = Sampler(ready.train, model.n_negatives)
    parameters = list(model.parameters())
    optimiser = Optimiser(parameters, config.train, sampler.batches(64), columns, model.by_row())
    losses: list[dict[str, float]] = []
    sent = columns.traffic.sent
    epoch = 0
    while len(losses) < steps:
        epoch += 1
        losses += _epoch(model, sampler, optimiser, config.train, epoch, steps - len(losses))
    branches, last = bundle_parts(model)
    return {
        "first": first,
        "losses": losses,
        "last": numbers(last),
        "branches": {name: numbers(vars(branch)) for name, branch in branches.items()},
        "held": columns.everywhere(sum(parameter.nbytes for parameter in parameters)),
        "sent": (columns.traffic.sent - sent) / steps,
    }


def _epoch(
    model: Recommender,
    sampler: Sampler,
    optimiser: Optimiser,
    config: TrainConfig,
    epoch: int,
    most: int,
) -> list[dict[str, float]]:
    generator = seeded(config.seed, epoch, 1, CPU)
    model.begin_epoch(generator)
    losses = []
    for batch in sampler.epoch(64, seeded(config.seed, epoch, 0, CPU)):
        terms = model.loss(batch, generator)
        optimiser.step(torch.stack(list(terms.values())).sum())
        losses.append({name: float(term.detach()) for name, term in terms.items()})
        if len(losses) == most:
            break
    return losses


def numbers(state: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """Copies as arrays: a queue sends tensors as handles of their process's memory."""
    return {name: value.detach().numpy().copy() for name, value in state.items()}


class Interruption(Exception):  # noqa: N818 - it is no error
    """Stands for a kill between two epochs."""


def resumed(
    columns: Columns, on: torch.device, inputs: dict[str, Path], values: Any, folder: Path
) -> dict[str, Any]:
    """The losses of a training, of one that was interrupted, and of its continuation."""
    trainer.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    config = PipelineConfig.model_validate(values)
    file = by_dimension.checkpoint_file(folder, "checkpoint.pt", columns)

    def train(file: Path | None, stop: int) -> list[Any]:
        ready = prepare(inputs, config, on, columns)
        model = build(config.model, ready.data, config.train.seed)
        validations = 0

        def select(branch: Scorer) -> float:
            nonlocal validations
            validations += 1
            if validations > stop:
                raise Interruption
            return ready.select(branch)

        return trainer.fit(model, ready.train, select, config.train, file).curve

    whole = train(None, 9)
    with suppress(Interruption):
        train(file, 2)
    return {"whole": whole, "continued": train(file, 9)}


def agreed(columns: Columns, on: torch.device, folder: Path) -> list[int]:
    """The epochs that are resumed after kills between the saves of the two processes."""
    file = by_dimension.checkpoint_file(folder, "checkpoint.pt", columns)

    def state(epoch: int) -> dict[str, Any]:
        return {"run": {"a": 1}, "history": {"epoch": epoch}}

    def epoch() -> int:
        found = by_dimension.load(file, on, {"a": 1}, columns)
        return -1 if found is None else int(found["history"]["epoch"])

    epochs = [epoch()]
    by_dimension.save(file, state(1), columns)
    epochs.append(epoch())
    # Both have written epoch 2; only the first has replaced its file.
    checkpoint.save(file if columns.first else file.with_suffix(".next"), state(2))
    epochs.append(epoch())
    # The first has written epoch 3, the second was killed before.
    if columns.first:
        checkpoint.save(file.with_suffix(".next"), state(3))
    return [*epochs, epoch()]


def killed(columns: Columns, on: torch.device, file: Path) -> None:
    """The second process dies; the others wait for it."""
    del on
    (file.parent / f"{columns.worker}.pid").write_text(str(os.getpid()))
    columns.wait()
    if columns.worker == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    columns.wait()
    time.sleep(60)


def refused(columns: Columns, on: torch.device) -> None:
    """The second process raises a user's error."""
    del on
    if columns.worker == 1:
        raise UserError("no vectors; give the items texts")
    columns.wait()
