"""The stage `train`: from the split, the features and the graphs to a model bundle."""

import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from brmrs.columns import (
    ASIN,
    CATEGORIES,
    CURVE,
    FUSED,
    MODALITIES,
    MODEL,
    TRAIN,
    USER_ID,
    VALIDATION,
)
from brmrs.config.features import FeaturesConfig
from brmrs.config.learning import TrainConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.evaluation.metrics import of_plugins
from brmrs.evaluation.ranking import ranked_items
from brmrs.graphs.user_items import UserItems
from brmrs.models import residuals
from brmrs.models.base import Branch, Recommender, Scorer, TrainingData
from brmrs.models.bundle import Bundle, Description, Feature, WarmStart, load
from brmrs.models.columns import WHOLE, Columns, whole_state
from brmrs.models.registry import build
from brmrs.stages import ITEMS, SPLIT, USERS, StageContext
from brmrs.system.files import read_json, write_parquet
from brmrs.system.machine import high_water
from brmrs.training import by_dimension
from brmrs.training.data import assemble
from brmrs.training.imputation import imputed
from brmrs.training.residual_weights import choose
from brmrs.training.selection import selector
from brmrs.training.trainer import History, Select, fit
from brmrs.training.warm_start import start_from

LOG = logging.getLogger(__name__)
CURVE_FILE = "curve.parquet"
CHECKPOINT = "checkpoint.pt"
NEIGHBOURS_ONLY = "graph of the nearest neighbours"
REPLACED = {  # what a label adds, as tables show it
    "permuted": "permuted among the items",
    "noise": "replaced by noise",
    "removed": "removed",
}


@dataclass(frozen=True)
class Prepared:
    """The inputs of the stage, ready for training.

    Attributes:
        users: raw ids, in the order of the dense ids.
        items: asins, in the order of the dense ids.
        train: the training items of each user.
        validation: the validation items of each user.
        select: the selection metric on them, to be called by every process that trains.
        folders: the feature folder of each modality; none where the model reads no features.
        data: the training data of the recommender.
        drawn: the items that negatives are drawn from, increasing; None: all.
    """

    users: list[str]
    items: list[str]
    train: UserItems
    validation: UserItems
    select: Select
    folders: dict[str, Path]
    data: TrainingData
    drawn: Tensor | None


def run(context: StageContext) -> None:
    """Train the configured recommender on the training split; validation selects the epoch."""
    config = context.config
    on, processes = device(config.train), config.train.processes
    folders = context.inputs, context.out, context.scratch
    if processes == 1:
        context.notes.update(_train(WHOLE, on, config, *folders))
        return
    dim = getattr(config.model, "dim")  # noqa: B009 - not every model has one
    values = config.model_dump(mode="json")  # a model's section is of a class made at run time
    notes = by_dimension.launch(_train_columns, processes, dim, on, values, *folders)
    context.notes.update(notes)


def _train_columns(
    columns: Columns, on: torch.device, values: dict[str, Any], *folders: Any
) -> dict[str, Any]:
    return _train(columns, on, PipelineConfig.model_validate(values), *folders)


def _train(
    columns: Columns,
    on: torch.device,
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out: Path,
    scratch: Path,
) -> dict[str, Any]:
    """Train these columns; the first process writes the artifact. Returns the notes."""
    ready = prepare(inputs, config, on, columns)
    residuals.refuse_what_cannot_be_fitted(config.model.residuals, ready.data)
    model = build(config.model, ready.data, config.train.seed).to(ready.data.device)
    warm = None
    if config.train.warm_start:
        previous = load(config.train.warm_start)
        warm = start_from(
            previous, config.model.name, model, ready.users, ready.items, ready.validation
        )
    file = by_dimension.checkpoint_file(scratch, CHECKPOINT, columns)
    history = fit(model, ready.train, ready.select, config.train, file, ready.drawn)
    notes = measured(history, ready.data.device)
    trained = bundle_parts(model)
    if not columns.first:
        return notes
    LOG.info("%s", summary(config, history, high_water()))
    neighbours = bool(config.model.residuals.reading_neighbours)
    used = {m for m in MODALITIES if neighbours or model.learns_from(m)}
    described = features(ready.folders, config.features, used)
    described |= of_graphs(ready.data, config.features, used - ready.folders.keys())
    about = describe(config, history, described, ready.users, ready.items, warm)
    branches, state = trained
    if columns.workers > 1 and config.model.residuals.weights:  # the others have ended
        ready = prepare(inputs, config, torch.device("cpu"))
    made = Bundle(about, branches, ready.train.to("cpu"), state)
    with_residuals(made, ready, config).save(out)
    points = zip(CURVE.names, zip(*history.curve, strict=True), strict=True)
    write_parquet(out / CURVE_FILE, CURVE, dict(points))
    return notes


def with_residuals(made: Bundle, ready: Prepared, config: PipelineConfig) -> Bundle:
    """The bundle whose fused branch has the configured residual scores added; without any, as is.

    Its validation metric is that of the sum.

    Args:
        made: the bundle of the trained model.
        ready: the inputs of the training.
        config: the residual scores, and the metric that chooses their weights.
    """
    wanted, metric = config.model.residuals, config.train.selection
    weights = wanted.weights
    if not weights:
        return made
    scores = residuals.fitted(wanted, ready.data)
    if wanted.search:
        parts = {MODEL: made.fused, **scores}
        others = of_plugins(config.plugins)
        among = ranked_items(config.split.protocol, ready.validation)
        weights = choose(parts, weights, ready.validation, ready.train, metric, others, among)
    branches = residuals.added(made.branches, scores, weights)
    value = ready.select(branches[FUSED])
    LOG.info("with residual scores %s: validation %s %.4f", weights, metric, value)
    about = made.about.model_copy(update={"validation": {metric: value}, "residuals": weights})
    return replace(made, about=about, branches=branches)


def prepare(
    inputs: Mapping[str, Path],
    config: PipelineConfig,
    on: torch.device | None = None,
    columns: Columns = WHOLE,
) -> Prepared:
    """Read the stage's inputs.

    Args:
        inputs: by the names that the stage declares.
        config: the device, the selection metric, the imputation of missing features.
        on: the device; None: that of the configuration.
        columns: those of the embeddings that this process trains.

    Raises:
        UserError: the split has no validation interactions, or there is no such device.
    """
    users = pq.read_table(inputs[USERS], columns=[USER_ID])[USER_ID].to_pylist()
    of_items = pq.read_table(inputs[ITEMS], columns=[ASIN, CATEGORIES])
    items, categories = (of_items[name].to_pylist() for name in (ASIN, CATEGORIES))
    on = on or device(config.train)
    train, validation = (
        UserItems.read(inputs[SPLIT], part, len(users), len(items)).to(on)
        for part in (TRAIN, VALIDATION)
    )
    protocol = config.split.protocol
    others, among = of_plugins(config.plugins), ranked_items(protocol, validation)
    metric = config.train.selection
    select = selector(metric, validation, train, others, among, columns)
    tables = {modality: f"{modality}_features" for modality in MODALITIES}
    folders = {modality: inputs[name] for modality, name in tables.items() if name in inputs}
    how = config.features.replace
    data = assemble(train, folders, inputs.get("graphs"), categories, how)
    data = replace(
        imputed(data, config.features.imputation),
        columns=columns,
        sampled_neighbours=config.train.sampled_neighbours or (),
    )
    drawn = torch.unique(train.items) if protocol == "cold-items" else None
    return Prepared(users, items, train, validation, select, folders, data, drawn)


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


def device(config: TrainConfig) -> torch.device:
    """The device to train on.

    Raises:
        UserError: CUDA is configured and this machine has none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "train.device is cuda, and torch finds no CUDA device here; set train.device to auto "
            "or cpu, or check the driver with nvidia-smi"
        )
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def features(
    folders: Mapping[str, Path], config: FeaturesConfig, used: Set[str]
) -> dict[str, Feature]:
    """The bundle's entries on the features, from their `meta.json`.

    Args:
        folders: the feature folder of each modality.
        config: how missing vectors were filled in, and what took the place of all.
        used: the modalities whose features, or graphs of them, the recommender reads.
    """
    described = {}
    for modality, folder in folders.items():
        meta = read_json(folder / "meta.json")
        kept = {name: meta[name] for name in ("label", "weights_sha256", "items", "present")}
        how = getattr(config.replace, modality)
        kept["label"] = _labelled(kept["label"], how)
        if how == "removed":
            kept["present"] = 0
        described[modality] = Feature(
            **kept, used=modality in used and kept["present"] > 0, imputation=config.imputation
        )
    return described


def _labelled(label: str, how: str) -> str:
    """The label of features, with what took their place (`features.replace`)."""
    return label if how == "none" else f"{label}, {REPLACED[how]}"


def of_graphs(data: TrainingData, config: FeaturesConfig, used: Set[str]) -> dict[str, Feature]:
    """The same entries for modalities of which only the nearest neighbours are read.

    Args:
        data: with the graphs.
        config: as for `features`.
        used: the modalities whose graphs the recommender reads, and not their features.
    """
    return {
        modality: Feature(
            label=_labelled(NEIGHBOURS_ONLY, getattr(config.replace, modality)),
            weights_sha256=None,
            items=data.items,
            present=int((graph.csr.crow_indices().diff() > 0).sum()),
            used=True,
            imputation=config.imputation,
        )
        for modality, graph in data.modality_graphs.items()
        if modality in used
    }


def describe(
    config: PipelineConfig,
    history: History,
    used: dict[str, Feature],
    users: list[str],
    items: list[str],
    warm: WarmStart | None,
) -> Description:
    """The bundle's `bundle.json`."""
    return Description(
        model=config.model.model_dump(mode="json"),
        train=config.train.key(),
        warm_start=warm,
        best_epoch=history.best_epoch,
        validation={config.train.selection: history.best_value},
        features=used,
        users=tuple(users),
        items=tuple(items),
    )


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
