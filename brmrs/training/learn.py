"""The part of a training that each of its processes does: from the inputs to a trained model."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from brmrs.columns import MODALITIES
from brmrs.config.pipeline import PipelineConfig
from brmrs.evaluation.metrics import of_plugins
from brmrs.evaluation.ranking import ranked_items
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch, Recommender, Scorer, TrainingData
from brmrs.models.bundle import WarmStart
from brmrs.models.columns import WHOLE, Columns, whole_state
from brmrs.models.registry import build
from brmrs.system.machine import high_water
from brmrs.training.member import Member
from brmrs.training.selection import selector
from brmrs.training.trainer import History, Select, fit
from brmrs.training.warm_start import Matched, copy_rows

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What all processes of a training read.

    Attributes:
        train: the training items of each user.
        validation: the validation items of each user.
        data: the training data of the recommender.
        drawn: the items that negatives are drawn from, increasing; None: all.
        warm: the bundle that training starts from; None: none.
    """

    train: UserItems
    validation: UserItems
    data: TrainingData
    drawn: Tensor | None = None
    warm: Matched | None = None

    def to(self, device: torch.device) -> "Inputs":
        """The same on a device; what is there already is not copied."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            data=self.data.to(device),
            drawn=None if self.drawn is None else self.drawn.to(device),
        )


@dataclass(frozen=True)
class Learned:
    """The outcome of a training.

    Attributes:
        history: without `best_state`.
        branches: of the trained model, whole.
        state: the model's parameters, whole.
        uses: the modalities whose features, or graphs of them, the model learned from.
        warm: the bundle that training started from; None: none.
        notes: time and memory of the process.
    """

    history: History
    branches: Mapping[str, Scorer]
    state: Mapping[str, Tensor]
    uses: tuple[str, ...]
    warm: WarmStart | None
    notes: Mapping[str, float]


def learn_columns(member: Member, values: dict[str, Any]) -> Learned:
    """`learn` with a configuration that was pickled; a model's section is made at run time."""
    return learn(member, PipelineConfig.model_validate(values))


def learn(member: Member, config: PipelineConfig) -> Learned:
    """Train the columns of a process; the result is whole in the first process only.

    Raises:
        UserError: the data lack what the model needs, or the training diverged.
    """
    inputs: Inputs = member.inputs.to(member.device)
    data = replace(inputs.data, columns=member.columns)
    model = build(config.model, data, config.train.seed).to(member.device)
    warm = copy_rows(inputs.warm, model) if inputs.warm else None
    select = selection(config, inputs.train, inputs.validation, member.columns)
    history = fit(model, inputs.train, select, config.train, member.checkpoints, inputs.drawn)
    notes = measured(history, member.device)
    history.best_state = {}  # the model has it
    branches, state = bundle_parts(model)
    if member.columns.first:
        LOG.info("%s", summary(config, history, high_water()))
    uses = tuple(modality for modality in MODALITIES if model.learns_from(modality))
    return Learned(history, branches, state, uses, warm, notes)


def selection(
    config: PipelineConfig, train: UserItems, validation: UserItems, columns: Columns = WHOLE
) -> Select:
    """The configured selection metric.

    Raises:
        UserError: no user has a validation item.
    """
    others = of_plugins(config.plugins)
    among = ranked_items(config.split.protocol, validation)
    return selector(config.train.selection, validation, train, others, among, columns)


def measured(history: History, on: torch.device) -> dict[str, float]:
    """Time and memory of a training; the memory is the peak of the whole process, in bytes."""
    taken: dict[str, float] = {"peak_memory_bytes": high_water()}
    if history.sent_per_step:
        taken["sent_bytes_per_step"] = history.sent_per_step
    if on.type == "cuda":
        taken["peak_cuda_bytes"] = torch.cuda.max_memory_allocated(on)
    if history.epoch:
        taken["epochs"] = history.epoch
        taken["seconds_per_epoch"] = history.seconds / history.epoch
    return taken


def summary(config: PipelineConfig, history: History, peak: int) -> str:
    """One line about a training: model, epochs, seconds, and why it ended.

    Args:
        config: of the training.
        history: of the training.
        peak: of this process's memory, in bytes.
    """
    who = f"{config.model.name}, seed {config.train.seed}"
    memory = f"the process's peak is {peak / 2**20:,.0f} MB"
    if not history.epoch:
        return f"{who}: nothing to train by gradient; {memory}"
    each = f"{history.epoch} epochs of {history.seconds / history.epoch:.2f} s"
    early = history.epoch - history.best_epoch < config.train.patience
    cut = ", ended by train.epochs before patience ran out" if early else ""
    return f"trained {who}: {each}, best in epoch {history.best_epoch}{cut}; {memory}"


@torch.no_grad()
def bundle_parts(model: Recommender) -> tuple[Mapping[str, Scorer], dict[str, Tensor]]:
    """The branches and the state of a trained recommender, whole on the first process."""
    model.eval()
    branches, columns = model.branches(), model.columns
    if columns.workers > 1:
        whole = {}
        for name, branch in branches.items():
            assert isinstance(branch, Branch)  # as `by_dimension` promises
            whole[name] = Branch(columns.collect(branch.p), columns.collect(branch.q))
        branches = whole
    return branches, whole_state(model, columns)
