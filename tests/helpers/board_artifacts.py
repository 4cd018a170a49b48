"""The artifacts that training reads, on a checkerboard whose right answer is known.

Even users like even items, odd users odd ones. Each user's last two items of the own colour are
held out, one for validation and one for test: whoever has understood the board ranks them first.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.columns import (
    ASIN,
    BRAND,
    CATEGORIES,
    COLUMN,
    DESCRIPTION,
    EDGES,
    IMAGE_URLS,
    ITEM,
    ITEMS,
    PRESENT,
    RATING,
    ROW,
    SPLIT,
    SPLIT_INTERACTIONS,
    TEST,
    TIMESTAMP,
    TITLE,
    TRAIN,
    USER,
    USER_ID,
    USERS,
    VALIDATION,
    VECTOR,
    WEIGHT,
    features,
)
from brmrs.config.load import parse
from brmrs.config.models import section as section_of_model
from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import FEATURE_TABLES, StageContext
from brmrs.stages import ITEMS as ITEMS_FILE
from brmrs.stages import SPLIT as SPLIT_FILE
from brmrs.stages import USERS as USERS_FILE
from brmrs.system.files import write_json, write_parquet

N_USERS, N_ITEMS = 40, 30
LABELS = {"text": "a test's text", "visual": "a test's pictures (random weights)"}

Rows = list[tuple[int, int, int]]  # user, item, split


def rows() -> Rows:
    """Every interaction of the board."""
    result = []
    for user in range(N_USERS):
        own = list(range(user % 2, N_ITEMS, 2))
        held_out = {own[user // 2 % len(own)]: VALIDATION, own[(user // 2 + 1) % len(own)]: TEST}
        result += [(user, item, held_out.get(item, TRAIN)) for item in own]
    return result


def write_split(folder: Path, interactions: Rows) -> None:
    """`split/interactions.parquet`."""
    users, items, splits = zip(*sorted(interactions), strict=True)
    columns: dict[str, object] = {USER: users, ITEM: items, SPLIT: splits}
    columns |= {RATING: [5.0] * len(users), TIMESTAMP: [None] * len(users)}
    path = folder / SPLIT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, SPLIT_INTERACTIONS, columns)


def write_inputs(folder: Path, interactions: Rows | None = None) -> dict[str, Path]:
    """All that `train` reads, below a folder; returns `StageContext.inputs`."""
    write_split(folder, interactions or rows())
    (folder / "ingest").mkdir()
    users = {USER: range(N_USERS), USER_ID: [f"U{user:03}" for user in range(N_USERS)]}
    write_parquet(folder / USERS_FILE, USERS, users)
    items: dict[str, Any] = {ITEM: range(N_ITEMS), ASIN: [f"B{item:03}" for item in range(N_ITEMS)]}
    items |= {name: [""] * N_ITEMS for name in (TITLE, DESCRIPTION, BRAND)}
    items |= {name: [[]] * N_ITEMS for name in (CATEGORIES, IMAGE_URLS)}
    write_parquet(folder / ITEMS_FILE, ITEMS, items)
    write_features(folder)
    (folder / "graphs").mkdir()
    for name, size in (
        ("item", N_ITEMS),
        ("user", N_USERS),
        ("text", N_ITEMS),
        ("visual", N_ITEMS),
    ):
        ends = np.arange(size)
        columns = {ROW: ends, COLUMN: (ends + 2) % size, WEIGHT: np.ones(size)}
        write_parquet(folder / "graphs" / f"{name}.parquet", EDGES, columns)
    return inputs_of(folder)


def inputs_of(folder: Path) -> dict[str, Path]:
    """`StageContext.inputs` of a folder that `write_inputs` has filled."""
    names = (SPLIT_FILE, USERS_FILE, ITEMS_FILE, "text_features", "visual_features", "graphs")
    return {name: folder / name for name in (*FEATURE_TABLES.values(), *names)}


def write_features(folder: Path) -> dict[str, Path]:
    """The feature tables of both modalities; returns those files as inputs."""
    for seed, modality in enumerate(LABELS):
        _write_features(folder / f"{modality}_features", modality, seed)
    return {table: folder / table for table in FEATURE_TABLES.values()}


def _write_features(folder: Path, modality: str, seed: int) -> None:
    """Noise in eight dimensions; two items lack the modality."""
    folder.mkdir()
    vectors = np.random.default_rng(seed).normal(size=(N_ITEMS, 8)).astype(np.float32)
    present = np.arange(N_ITEMS) >= 2
    vectors[~present] = 0
    schema = features(8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8)
    arrays = {ITEM: pa.array(range(N_ITEMS), pa.int32()), VECTOR: column}
    table = pa.table({**arrays, PRESENT: pa.array(present)}, schema=schema)
    pq.write_table(table, folder / "features.parquet")
    meta: dict[str, object] = {"modality": modality, "label": LABELS[modality]}
    meta |= {
        "model": "noise",
        "weights": "random",
        "weights_sha256": None,
        "dimension": 8,
        "items": N_ITEMS,
        "present": N_ITEMS - 2,
    }
    write_json(folder / "meta.json", meta)


def config(model: str = "bpr-mf", **train: object) -> PipelineConfig:
    """A small model, trained for a few epochs on the CPU."""
    dimension = {"dim": 8} if "dim" in section_of_model(model).model_fields else {}
    defaults = {"batch_size": 64, "learning_rate": 0.03, "epochs": 60, "patience": 60}
    values = {"selection": "recall@2", "device": "cpu", **defaults, **train}
    sections = {"model": {"name": model, **dimension}, "train": values, "evaluate": {"k": [2, 5]}}
    return parse(sections, source="the test")


def context(inputs: dict[str, Path], root: Path, settings: PipelineConfig) -> StageContext:
    """A context with fresh folders below `root`."""
    out, scratch = root / "out", root / "scratch"
    for folder in (out, scratch):
        folder.mkdir(parents=True)
    return StageContext(settings, inputs, out, scratch)


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of an artifact."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
