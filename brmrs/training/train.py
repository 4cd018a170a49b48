"""The stage `train`: from the split, the features and the graphs to a model bundle."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch

from brmrs.columns import (
    ASIN,
    CURVE,
    MODALITIES,
    TRAIN,
    USER_ID,
    VALIDATION,
)
from brmrs.config import PipelineConfig, TrainConfig
from brmrs.errors import UserError
from brmrs.evaluation.metrics import measure
from brmrs.files import read_json, write_parquet
from brmrs.memory import peak_resident
from brmrs.models.base import Branch, Recommender, TrainingData
from brmrs.models.registry import build
from brmrs.stages import ITEMS, SPLIT, USERS, StageContext
from brmrs.training.bundle import Bundle, Description, Feature
from brmrs.training.data import assemble
from brmrs.training.trainer import History, Select, fit
from brmrs.user_items import UserItems

LOG = logging.getLogger(__name__)
CURVE_FILE = "curve.parquet"
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Prepared:
    """What the stage reads, ready to train on.

    Attributes:
        users: raw ids, in the order of the dense ids.
        items: asins, likewise.
        train: the training items of each user.
        select: the selection metric on the validation split.
        folders: the feature folder of each modality.
        data: what a recommender may know.
    """

    users: list[str]
    items: list[str]
    train: UserItems
    select: Select
    folders: dict[str, Path]
    data: TrainingData


def run(context: StageContext) -> None:
    """Train the configured recommender on the training split; validation alone selects."""
    config = context.config
    ready = prepare(context.inputs, config.train)
    model = build(config.model, ready.data, config.train.seed).to(ready.data.device)
    file = context.scratch / CHECKPOINT
    history = fit(model, ready.train, ready.select, config.train, file)
    context.measured.update(measured(history, ready.data.device))
    used = features(ready.folders, used=bool(model.needs))
    about = describe(config, history, used, ready.users, ready.items)
    bundle(about, model, ready.train).save(context.out)
    points = zip(CURVE.names, zip(*history.curve, strict=True), strict=True)
    write_parquet(context.out / CURVE_FILE, CURVE, dict(points))


def prepare(inputs: Mapping[str, Path], config: TrainConfig) -> Prepared:
    """Read the stage's inputs.

    Args:
        inputs: by the names that the stage declares.
        config: the device, and the metric to select by.

    Raises:
        UserError: the split has no validation interactions, or there is no such device.
    """
    users = pq.read_table(inputs[USERS], columns=[USER_ID])[USER_ID].to_pylist()
    items = pq.read_table(inputs[ITEMS], columns=[ASIN])[ASIN].to_pylist()
    on = device(config)
    train, validation = (
        UserItems.read(inputs[SPLIT], part, len(users), len(items)).to(on)
        for part in (TRAIN, VALIDATION)
    )
    select = selector(config.selection, validation, train)
    folders = {modality: inputs[f"{modality}_features"] for modality in MODALITIES}
    data = assemble(train, folders, inputs["graphs"])
    return Prepared(users, items, train, select, folders, data)


def measured(history: History, on: torch.device) -> dict[str, float]:
    """What training took; the memory is this process's peak, whatever else it has done."""
    taken: dict[str, float] = {"peak_memory_bytes": peak_resident()}
    if on.type == "cuda":
        taken["peak_cuda_bytes"] = torch.cuda.max_memory_allocated(on)
    peaks = ", ".join(f"{name} {value:,.0f}" for name, value in taken.items())
    if history.epoch:
        taken["epochs"] = history.epoch
        taken["seconds_per_epoch"] = history.seconds / history.epoch
        each = f"{taken['seconds_per_epoch']:.2f} s"
        LOG.info("trained %d epochs of %s each; %s", history.epoch, each, peaks)
    return taken


def device(config: TrainConfig) -> torch.device:
    """Where to train.

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


def selector(metric: str, validation: UserItems, train: UserItems) -> Select:
    """The selection metric as a function of a branch.

    Args:
        metric: such as "recall@20".
        validation: the items to find.
        train: the items to mask.

    Raises:
        UserError: no user has a validation item.
    """
    if len(validation.items) == 0:
        raise UserError(
            "the split has no validation interactions to select the model by; raise split.held_out "
            "or give more interactions per user (ingest.k)"
        )
    k = int(metric.partition("@")[2])

    def select(branch: Branch) -> float:
        return float(measure(branch, validation, train, (k,))[metric].mean())

    return select


def features(folders: Mapping[str, Path], *, used: bool) -> dict[str, Feature]:
    """What the bundle says of the features, from their `meta.json`.

    Args:
        folders: the feature folder of each modality.
        used: whether the recommender reads features, or graphs made of them.
    """
    described = {}
    for modality, folder in folders.items():
        meta = read_json(folder / "meta.json")
        kept = {name: meta[name] for name in ("label", "weights_sha256", "items", "present")}
        described[modality] = Feature(**kept, used=used and meta["present"] > 0)
    return described


def describe(
    config: PipelineConfig,
    history: History,
    used: dict[str, Feature],
    users: list[str],
    items: list[str],
) -> Description:
    """The bundle's `bundle.json`."""
    return Description(
        model=config.model.model_dump(mode="json"),
        train=config.train.model_dump(mode="json"),
        best_epoch=history.best_epoch,
        validation={config.train.selection: history.best_value},
        features=used,
        users=tuple(users),
        items=tuple(items),
    )


@torch.no_grad()
def bundle(about: Description, model: Recommender, train: UserItems) -> Bundle:
    """The bundle of a trained recommender."""
    model.eval()
    return Bundle(about, model.branches(), train.to("cpu"), model.state_dict())
