"""Data sets to measure training on, ready-made or synthetic in the same layout."""

import csv
from pathlib import Path

import numpy as np
import torch

from brmrs.columns import MODALITIES, TEST, TRAIN, VALIDATION
from brmrs.config.data import ImagesConfig, IngestConfig, SplitConfig
from brmrs.config.features import FeaturesConfig, TextConfig, VisualConfig
from brmrs.config.learning import GraphsConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.graphs.user_items import UserItems
from brmrs.ingest.ready_made.layout import FEATURES, ITEM_IDS, NEIGHBOURS
from brmrs.models.base import TrainingData
from brmrs.stages import STAGES, StageContext
from brmrs.system.files import read_json
from brmrs.training.data import assemble

STAGES_BEFORE_TRAINING = ("ingest", "split", "text_features", "images", "visual_features", "graphs")
Shape = tuple[int, int, int]  # users, items, training interactions


def write_synthetic(folder: Path, shape: Shape, dimensions: tuple[int, int]) -> None:
    """Write a random ready-made data set: items by a power law, and random features.

    Every user but the first has a validation item, and nearly every one a training item.
    """
    users, items, train = shape
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    # Repeated pairs are dropped, so draw more; keep the first of each.
    drawn = int(1.3 * train) + 2 * users
    user = np.concatenate([np.arange(users), np.arange(users), rng.integers(0, users, drawn)])
    item = (items * rng.random(len(user)) ** 2).astype(np.int64)
    _, first = np.unique(user * items + item, return_index=True)
    first = np.sort(first)[: train + users]
    user, item = user[first], item[first]
    label = np.zeros(len(user), dtype=np.int64)
    label[np.unique(user, return_index=True)[1]] = VALIDATION
    label[0] = TEST  # the layout requires one
    with (folder / "synthetic.inter").open("w") as file:
        file.write("userID\titemID\tx_label\n")
        np.savetxt(file, np.stack([user, item, label], axis=1), fmt="%d", delimiter="\t")
    with (folder / ITEM_IDS).open("w") as file:
        csv.writer(file).writerows([("asin", "itemID"), *((f"B{i:09d}", i) for i in range(items))])
    for (name, *_), width in zip(FEATURES.values(), dimensions, strict=True):
        np.save(folder / name, rng.standard_normal((items, width), dtype=np.float32))


def prepare(source: Path, out: Path) -> None:
    """Run the stages before training on a ready-made data set. Each writes into `out`/stage.

    Uses the kNN tables of the data set if it has them. Else the graphs use only the overlaps,
    because the cosines of random features take minutes and have no meaning.
    """
    known = any((source / name).is_file() for name in NEIGHBOURS.values())
    config = PipelineConfig(
        ingest=IngestConfig(format="ready-made", path=source),
        split=SplitConfig(protocol="given"),
        features=FeaturesConfig(
            text=TextConfig(model="imported"), visual=VisualConfig(backbone="imported")
        ),
        images=ImagesConfig(fetch=False),
        graphs=GraphsConfig(modality="knn") if known else GraphsConfig(alpha=1.0),
    )
    for stage in STAGES:
        if stage.name in STAGES_BEFORE_TRAINING:
            inputs = {read: out / read for read in stage.reads}
            folder, scratch = out / stage.name, out / "scratch" / stage.name
            folder.mkdir(parents=True)
            scratch.mkdir(parents=True)
            stage.load()(StageContext(config.only(stage.config), inputs, folder, scratch))


def read(folder: Path, device: torch.device) -> tuple[TrainingData, UserItems, UserItems]:
    """Read the output of `prepare`: training data, training items and validation items."""
    counts = read_json(folder / "graphs" / "statistics.json")
    split = folder / "split" / "interactions.parquet"
    train, validation = (
        UserItems.read(split, part, counts["users"], counts["items"]).to(device)
        for part in (TRAIN, VALIDATION)
    )
    features = {modality: folder / f"{modality}_features" for modality in MODALITIES}
    data = assemble(train, features, folder / "graphs", [()] * counts["items"])
    return data, train, validation
