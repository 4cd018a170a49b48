"""Seconds and memory of `evaluate` and `diagnosis` at the size of Amazon Baby, on made-up data.

    OMP_NUM_THREADS=2 python bench/diagnosis.py   # 19,445 users, 7,050 items; and half the users
    OMP_NUM_THREADS=2 python bench/diagnosis.py --users 40000 --items 20000

Each size runs in a process of its own, which gives its peak memory; the part before the stage, with
torch and the inputs, is subtracted in the last column. The bundle has three random branches of 64
dimensions. Features have 384 and 4,096 dimensions. Processor seconds are of all threads; on a busy
machine they say more than the wall time.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.columns import (
    ITEM,
    PRESENT,
    RATING,
    SPLIT,
    SPLIT_INTERACTIONS,
    TEST,
    TIMESTAMP,
    TRAIN,
    USER,
    VALIDATION,
    VECTOR,
    features,
)
from brmrs.config.pipeline import PipelineConfig
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.models.bundle import Bundle, Description
from brmrs.stages import BY_NAME, FEATURE_TABLES, StageContext
from brmrs.stages import SPLIT as SPLIT_FILE
from brmrs.system.files import write_parquet
from brmrs.system.machine import high_water

USERS, ITEMS, INTERACTIONS = 19_445, 7_050, 160_792  # Baby; interactions grow with the users
HELD_OUT = 0.13  # share of the interactions in each of validation and test
DIMENSIONS = {"text": 384, "visual": 4096}
STAGES = ("diagnosis", "evaluate")


def write(folder: Path, users: int, items: int, interactions: int) -> dict[str, Path]:
    """Write the split, the features and the bundle; returns the inputs of the stages."""
    rng = np.random.default_rng(0)
    popular = 1 / np.arange(1, items + 1) ** 0.8
    keys = rng.integers(users, size=interactions) * items
    keys = np.unique(keys + rng.choice(items, size=interactions, p=popular / popular.sum()))
    user, item = keys // items, keys % items
    part = rng.choice((TRAIN, VALIDATION, TEST), len(keys), p=(1 - 2 * HELD_OUT, *[HELD_OUT] * 2))
    (folder / "split").mkdir()
    columns = {USER: user, ITEM: item, SPLIT: part, RATING: np.ones(len(keys))}
    columns[TIMESTAMP] = rng.integers(10**12, size=len(keys))
    write_parquet(folder / SPLIT_FILE, SPLIT_INTERACTIONS, columns)
    inputs = {SPLIT_FILE: folder / SPLIT_FILE, "train": folder / "train"}
    for modality, table in FEATURE_TABLES.items():
        inputs[table] = folder / table
        _write_features(folder / table, items, DIMENSIONS[modality], rng)
    _write_bundle(
        folder / "train", users, items, UserItems.read(inputs[SPLIT_FILE], TRAIN, users, items)
    )
    return inputs


def _write_features(path: Path, items: int, dimension: int, rng: np.random.Generator) -> None:
    path.parent.mkdir()
    vectors = rng.standard_normal((items, dimension), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension)
    present = pa.array(rng.random(items) < 0.98)
    arrays = {ITEM: pa.array(range(items), pa.int32()), VECTOR: column, PRESENT: present}
    pq.write_table(pa.table(arrays, schema=features(dimension)), path)


def _write_bundle(folder: Path, users: int, items: int, train: UserItems) -> None:
    """Text and visual branches of 64 dimensions, and the fused one, which has both side by side."""
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(n, 128, generator=generator) for n in (users, items))
    branches = {
        "text": Branch(p[:, :64], q[:, :64]),
        "visual": Branch(p[:, 64:], q[:, 64:]),
        "fused": Branch(p, q),
    }
    about = Description(
        model={"name": "random", "pool": 2},
        train={},
        best_epoch=1,
        validation={},
        features={},
        users=tuple(f"U{n}" for n in range(users)),
        items=tuple(f"I{n}" for n in range(items)),
    )
    folder.mkdir()
    Bundle(about, branches, train, {}).save(folder)


def measure(stage: str, folder: Path) -> None:
    """Run one stage in this process, and print its seconds and its memory."""
    names = (SPLIT_FILE, "train", *FEATURE_TABLES.values())
    inputs = {name: folder / name for name in names}
    out, scratch = (Path(tempfile.mkdtemp(dir=folder)) for _ in range(2))
    run = BY_NAME[stage].load()
    before, wall, processor = high_water(), time.perf_counter(), time.process_time()
    run(StageContext(PipelineConfig(), inputs, out, scratch))
    taken = f"{time.perf_counter() - wall:.1f} | {time.process_time() - processor:.1f}"
    peak = high_water()
    print(f"{taken} | {peak / 2**20:,.0f} | {(peak - before) / 2**20:,.0f} |", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        measure(given.stage, given.folder)
        return
    print("| stage | users | items | seconds | processor seconds | peak MB | of it the stage |")
    print("|---|---|---|---|---|---|---|")
    for users in (given.users, given.users // 2):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), users, given.items, INTERACTIONS * users // USERS)
            for stage in STAGES:
                print(f"| {stage} | {users:,} | {given.items:,} | ", end="", flush=True)
                command = [sys.executable, __file__, "--stage", stage, "--folder", folder]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
