"""The stage `train`: from the split, the features and the graphs to a model bundle."""

import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

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
from brmrs.models.base import TrainingData
from brmrs.models.bundle import Bundle, Description, Feature, WarmStart, load
from brmrs.models.columns import WHOLE
from brmrs.stages import ITEMS, SPLIT, USERS, StageContext
from brmrs.system.checkpoint import InFile
from brmrs.system.cluster import Pool
from brmrs.system.files import read_json, write_parquet
from brmrs.training import beside, by_dimension
from brmrs.training.data import assemble
from brmrs.training.imputation import imputed
from brmrs.training.learn import Inputs, Learned, learn, learn_columns, selection
from brmrs.training.member import Job, Member
from brmrs.training.packed import Shared
from brmrs.training.residual_weights import choose
from brmrs.training.shares import ALONE, warn_of_other_counts
from brmrs.training.trainer import History, Select
from brmrs.training.warm_start import Matched, match

LOG = logging.getLogger(__name__)
CPU = torch.device("cpu")
CURVE_FILE = "curve.parquet"
SECOND = "beside"  # checkpoints of a second model
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
        select: the selection metric on them.
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
    config, processes = context.config, context.config.train.processes
    warn_of_other_counts(context.scratch, processes)
    ready = prepare(context.inputs, config, None if processes == 1 else CPU)
    residuals.refuse_what_cannot_be_fitted(config.model.residuals, ready.data)
    inputs = Inputs(ready.train, ready.validation, ready.data, ready.drawn, _warm(config, ready))
    if processes == 1:
        checkpoints = InFile(context.scratch / ALONE)
        learned = learn(Member(device(config.train), WHOLE, inputs, checkpoints), config)
    else:
        pool = _pool(config)
        if ready.drawn is None:
            _ = ready.train.free_below  # computed once, and shared
        shared = by_dimension.share(inputs, context.scratch, pool)
        inputs = shared.load()  # the only copy from here on
        select = selection(config, inputs.train, inputs.validation)
        ready = replace(ready, train=inputs.train, data=inputs.data, select=select)
        learned = _learn_together(config, shared, context.scratch, pool)
    context.notes.update(learned.notes)
    made = _bundle(learned, ready, config)
    with_residuals(made, inputs, ready.select, config, context.scratch / SECOND).save(context.out)
    points = zip(CURVE.names, zip(*learned.history.curve, strict=True), strict=True)
    write_parquet(context.out / CURVE_FILE, CURVE, dict(points))


def _warm(config: PipelineConfig, ready: "Prepared") -> Matched | None:
    if not config.train.warm_start:
        return None
    previous = load(config.train.warm_start)
    return match(previous, config.model.name, ready.users, ready.items, ready.validation)


def _pool(config: PipelineConfig) -> Pool | None:
    """The cluster that trains; None: this machine."""
    execution = config.execution
    if execution.engine != "ray":
        return None
    return Pool(execution.address, config.train.processes, execution.cores, execution.gpus)


def _learn_together(
    config: PipelineConfig, shared: Shared, scratch: Path, pool: Pool | None
) -> Learned:
    """Train in several processes."""
    dim = getattr(config.model, "dim")  # noqa: B009 - not every model has one
    values = config.model_dump(mode="json")
    on = device(config.train) if pool is None else _device_on_cluster(config.train, pool)
    job = Job(learn_columns, config.train.processes, dim, on, (values,), shared)
    learned: Learned = by_dimension.launch(job, scratch, pool)
    return learned


def _device_on_cluster(config: TrainConfig, pool: Pool) -> torch.device:
    """The kind of device of the cluster's actors.

    Raises:
        UserError: CUDA is configured, and no GPUs for the actors.
    """
    if config.device == "cuda" and not pool.gpus:
        raise UserError(
            "train.device is cuda, and actors have no GPUs; set execution.gpus=1 or "
            "train.device=cpu"
        )
    return torch.device("cuda" if pool.gpus and config.device != "cpu" else "cpu")


def _bundle(learned: Learned, ready: "Prepared", config: PipelineConfig) -> Bundle:
    """The bundle of the trained model alone."""
    neighbours = bool(config.model.residuals.reading_neighbours)
    used = {m for m in MODALITIES if neighbours or m in learned.uses}
    described = features(ready.folders, config.features, used)
    described |= of_graphs(ready.data, config.features, used - ready.folders.keys())
    history = learned.history
    about = describe(config, history, described, ready.users, ready.items, learned.warm)
    return Bundle(about, learned.branches, ready.train.to("cpu"), dict(learned.state))


def with_residuals(
    made: Bundle, inputs: Inputs, select: Select, config: PipelineConfig, checkpoints: Path
) -> Bundle:
    """The bundle whose fused branch has the configured residual scores added; without any, as is.

    Its validation metric is that of the sum.

    Args:
        made: the bundle of the trained model.
        inputs: of its training.
        select: the selection metric.
        config: the residual scores, and the metric that chooses their weights.
        checkpoints: the file for those of a second model.
    """
    wanted, metric = config.model.residuals, config.train.selection
    weights = wanted.weights
    if not weights:
        return made
    scores = residuals.fitted(wanted, inputs.data)
    if beside.NAME in weights:
        scores[beside.NAME] = beside.trained(inputs, config, checkpoints)
    if wanted.search:
        parts = {MODEL: made.fused, **scores}
        others = of_plugins(config.plugins)
        among = ranked_items(config.split.protocol, inputs.validation)
        weights = choose(parts, weights, inputs.validation, inputs.train, metric, others, among)
    branches = residuals.added(made.branches, scores, weights)
    value = select(branches[FUSED])
    LOG.info("with residual scores %s: validation %s %.4f", weights, metric, value)
    about = made.about.model_copy(update={"validation": {metric: value}, "residuals": weights})
    return replace(made, about=about, branches=branches)


def prepare(
    inputs: Mapping[str, Path],
    config: PipelineConfig,
    on: torch.device | None = None,
) -> Prepared:
    """Read the stage's inputs.

    Args:
        inputs: by the names that the stage declares.
        config: the device, the selection metric, the imputation of missing features.
        on: the device; None: that of the configuration.

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
    select = selection(config, train, validation)
    tables = {modality: f"{modality}_features" for modality in MODALITIES}
    folders = {modality: inputs[name] for modality, name in tables.items() if name in inputs}
    how = config.features.replace
    data = assemble(train, folders, inputs.get("graphs"), categories, how)
    data = replace(
        imputed(data, config.features.imputation),
        sampled_neighbours=config.train.sampled_neighbours or (),
    )
    drawn = torch.unique(train.items) if config.split.protocol == "cold-items" else None
    return Prepared(users, items, train, validation, select, folders, data, drawn)


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
