"""The stage `train`: from the split, the features and the graphs to a model bundle."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import torch

from brmrs.columns import (
    ASIN,
    CATEGORIES,
    CURVE,
    MODALITIES,
    TRAIN,
    USER_ID,
    VALIDATION,
)
from brmrs.config import Imputation, PipelineConfig, TrainConfig
from brmrs.errors import UserError
from brmrs.evaluation.metrics import measure
from brmrs.files import read_json, write_parquet
from brmrs.models.base import Recommender, Scorer
from brmrs.models.registry import build
from brmrs.stages import ITEMS, SPLIT, USERS, StageContext
from brmrs.training.bundle import Bundle, Description, Feature, WarmStart, load
from brmrs.training.data import assemble
from brmrs.training.imputation import imputed
from brmrs.training.trainer import History, Select, fit
from brmrs.training.warm_start import start_from
from brmrs.user_items import UserItems

CURVE_FILE = "curve.parquet"
CHECKPOINT = "checkpoint.pt"


def run(context: StageContext) -> None:
    """Train the configured recommender on the training split; validation alone selects."""
    inputs, config = context.inputs, context.config
    users = pq.read_table(inputs[USERS], columns=[USER_ID])[USER_ID].to_pylist()
    of_items = pq.read_table(inputs[ITEMS], columns=[ASIN, CATEGORIES])
    items, categories = (of_items[name].to_pylist() for name in (ASIN, CATEGORIES))
    on = device(config.train)
    train, validation = (
        UserItems.read(inputs[SPLIT], part, len(users), len(items)).to(on)
        for part in (TRAIN, VALIDATION)
    )
    select = selector(config.train.selection, validation, train)
    folders = {modality: inputs[f"{modality}_features"] for modality in MODALITIES}
    imputation = config.features.imputation
    data = imputed(assemble(train, folders, inputs["graphs"], categories), imputation)
    model = build(config.model, data, config.train.seed).to(on)
    warm = None
    if config.train.warm_start:
        previous = load(config.train.warm_start)
        warm = start_from(previous, config.model.name, model, users, items, validation)
    history = fit(model, train, select, config.train, context.scratch / CHECKPOINT)
    used = features(folders, imputation, used=bool(model.needs))
    about = describe(config, history, used, users, items, warm)
    bundle(about, model, train).save(context.out)
    points = zip(CURVE.names, zip(*history.curve, strict=True), strict=True)
    write_parquet(context.out / CURVE_FILE, CURVE, dict(points))


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

    def select(branch: Scorer) -> float:
        return float(measure(branch, validation, train, (k,))[metric].mean())

    return select


def features(
    folders: Mapping[str, Path], imputation: Imputation, *, used: bool
) -> dict[str, Feature]:
    """What the bundle says of the features, from their `meta.json`.

    Args:
        folders: the feature folder of each modality.
        imputation: what stood for the vectors that items lack.
        used: whether the recommender reads features, or graphs made of them.
    """
    described = {}
    for modality, folder in folders.items():
        meta = read_json(folder / "meta.json")
        kept = {name: meta[name] for name in ("label", "weights_sha256", "items", "present")}
        described[modality] = Feature(
            **kept, used=used and meta["present"] > 0, imputation=imputation
        )
    return described


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
def bundle(about: Description, model: Recommender, train: UserItems) -> Bundle:
    """The bundle of a trained recommender."""
    model.eval()
    return Bundle(about, model.branches(), train.to("cpu"), model.state_dict())
