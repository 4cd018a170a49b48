"""Work for the processes of `by_dimension.launch`; they import it from here."""

import errno
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
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
from brmrs.system.checkpoint import Checkpoints
from brmrs.training import trainer
from brmrs.training.learn import Learned, bundle_parts, learn_columns, selection
from brmrs.training.member import Member
from brmrs.training.optimiser import Optimiser
from brmrs.training.sampling import Sampler, seeded
from brmrs.training.shares import Folder, Shares
from brmrs.training.stage import prepare

CPU = torch.device("cpu")


def train_all(member: Member, jobs: dict[str, Any], steps: int) -> dict[str, Any]:
    """By job: what `train_steps` gives; the inputs are the folders of the artifacts."""
    torch.set_num_threads(1)
    found = {}
    for name, values in jobs.items():
        config = PipelineConfig.model_validate(values)
        own = replace(member.columns, dim=config.model.model_dump()["dim"])
        found[name] = train_steps(own, member.inputs, config, steps)
    return found


def train_steps(
    columns: Columns, inputs: dict[str, Path], config: PipelineConfig, steps: int
) -> dict[str, Any]:
    """The first weights, the losses of each step, the last weights and branches, and sizes."""
    ready = prepare(inputs, config, CPU)
    model = build(config.model, replace(ready.data, columns=columns), config.train.seed)
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


def resumed(member: Member, values: dict[str, Any]) -> dict[str, Any]:
    """The losses of a training, of one that was interrupted, and of its continuation."""
    trainer.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    config = PipelineConfig.model_validate(values)
    data = replace(member.inputs.data, columns=member.columns)
    train_items, validation = member.inputs.train, member.inputs.validation

    def train(checkpoints: Checkpoints | None, stop: int) -> list[Any]:
        model = build(config.model, data, config.train.seed)
        chosen = selection(config, train_items, validation, member.columns)
        validations = 0

        def select(branch: Scorer) -> float:
            nonlocal validations
            validations += 1
            if validations > stop:
                raise Interruption
            return chosen(branch)

        return trainer.fit(model, train_items, select, config.train, checkpoints).curve

    whole = train(None, 9)
    with suppress(Interruption):
        train(member.checkpoints, 2)
    return {"whole": whole, "continued": train(member.checkpoints, 9)}


def ranks(member: Member) -> list[int]:
    """The numbers of all processes."""
    return member.columns.everywhere(member.columns.worker)


def agreed(member: Member, folder: Path) -> list[int]:
    """The epochs that are resumed after kills between the saves of the two processes."""
    columns = member.columns
    keeper = Folder(folder, columns.worker, columns.workers)
    shares = Shares(columns, keeper)

    def state(epoch: int) -> dict[str, Any]:
        return {"run": {"a": 1}, "history": {"epoch": epoch}}

    def epoch() -> int:
        found = shares.load(member.device, {"a": 1})
        return -1 if found is None else int(found["history"]["epoch"])

    epochs = [epoch()]
    shares.save(1, state(1))
    epochs.append(epoch())
    # Both have written epoch 2; only the first has removed epoch 1.
    keeper.write(2, checkpoint.packed(state(2)))
    if columns.first:
        keeper.remove_others(2)
    epochs.append(epoch())
    # The first has written epoch 3, the second was killed while it wrote.
    if columns.first:
        keeper.write(3, checkpoint.packed(state(3)))
    else:
        (folder / "share-1-of-2.3.part").write_bytes(b"half")
    epochs.append(epoch())
    shares.save(4, state(4))
    return epochs


def killed(member: Member, folder: Path) -> None:
    """The second process dies; the others wait for it."""
    columns = member.columns
    (folder / f"{columns.worker}.pid").write_text(str(os.getpid()))
    columns.wait()
    if columns.worker == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    columns.wait()
    time.sleep(60)


def refused(member: Member) -> None:
    """The second process raises a user's error."""
    if member.columns.worker == 1:
        raise UserError("no vectors; give the items texts")
    member.columns.wait()


def full(member: Member) -> None:
    """The second process finds a full disk."""
    if member.columns.worker == 1:
        raise OSError(errno.ENOSPC, "No space left on device", "share.pt")
    member.columns.wait()


def learn_often(folder: Path, member: Member, values: dict[str, Any]) -> Learned:
    """The stage's work with a checkpoint after each epoch; leaves its process id in a folder."""
    trainer.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    (folder / f"{member.columns.worker}.pid").write_text(str(os.getpid()))
    return learn_columns(member, values)
