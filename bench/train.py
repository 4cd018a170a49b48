"""Measure the training speed of the recommenders: `python bench/train.py` prints one table.

By default it measures synthetic data of Baby's size: 19,445 users, 7,050 items, 118,551 training
interactions, features of 384 and 4096 dimensions. `--data` names the folder of a ready-made data
set instead. Every model trains in a separate process. The table shows the fastest epoch after the
first, the fastest evaluation of all users, and the peak memory of the process. `--peers PYTHON`
names an interpreter that may have cornac, implicit and recbole. `--grow` multiplies users, items,
interactions and the batch by 1, 4 and 16.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch
import train_data

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.columns import VISUAL
from brmrs.config.learning import TrainConfig
from brmrs.config.models import names as model_names
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.models.base import Scorer
from brmrs.models.registry import build
from brmrs.system.machine import high_water
from brmrs.training.selection import selector
from brmrs.training.stage import device
from brmrs.training.trainer import fit

P = ParamSpec("P")
T = TypeVar("T")

BABY: train_data.Shape = (19_445, 7_050, 118_551)
ELECTRONICS: train_data.Shape = (192_403, 63_001, 1_250_000)
DIMENSIONS = (384, 4096)  # of text and visual features
GROWTH = (1, 4, 16)
GROWING = ("bpr-mf", "lightgcn", "br-mrs")
PEERS = (
    "cornac BPR",
    "cornac VBPR",
    "implicit BPR",
    "implicit ALS",
    "recbole BPR",
    "recbole LightGCN",
)
HEADER = "| model | s/epoch | samples/s | evaluation s | peak MB |\n|---|---|---|---|---|"


class Result(NamedTuple):
    """Measurements of one process. If it measured nothing, `fault` is the reason."""

    epoch: float = 0.0  # seconds
    evaluation: float = 0.0  # seconds
    peak: int = 0  # MB
    fault: str = ""


def trained(
    name: str, folder: Path, epochs: int, batch_size: int, *, ranked: bool = True
) -> Result:
    """Train one recommender in this process. Start a new process for each, as the peak never falls.

    Args:
        name: of the recommender.
        folder: output of `prepared`.
        epochs: to train.
        batch_size: interactions.
        ranked: whether an evaluation of all users follows each epoch.
    """
    config = PipelineConfig.model_validate({"model": name})
    settings = TrainConfig(epochs=epochs, patience=epochs, batch_size=batch_size)
    on = device(settings)
    data, train, validation = train_data.read(folder, on)
    select = selector(settings.selection, validation, train) if ranked else lambda _: 0.0
    marks = []

    def timed(branch: Scorer) -> float:
        began = synchronised(on)
        value = select(branch)
        marks.append((began, synchronised(on)))
        return value

    try:
        model = build(config.model, data, settings.seed).to(on)
    except UserError as error:
        return Result(fault=str(error))
    started = synchronised(on)
    fit(model, train, timed, settings)
    ends = [started, *(end for _, end in marks)]
    steps = [began - end for (began, _), end in zip(marks, ends, strict=False)]
    peak = torch.cuda.max_memory_allocated() if on.type == "cuda" else high_water()
    evaluation = min(end - began for began, end in marks)
    return Result(min(steps[1:] or steps) if model.trainable else 0.0, evaluation, peak // 2**20)


def synchronised(on: torch.device) -> float:
    """The time in seconds, after the device has finished all queued work."""
    if on.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a function in a new process, as a process's peak memory never falls."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def row(name: str, interactions: int, result: Result) -> str:
    """A line of the table."""
    if result.fault:
        return f"| {name} | {result.fault} | | | |"
    epoch = f"{result.epoch:.2f} | {interactions / result.epoch:,.0f}" if result.epoch else "|"
    evaluation = f"{result.evaluation:.2f}" if result.evaluation else ""
    return f"| {name} | {epoch} | {evaluation} | {result.peak:,} |"


def compare(
    folder: Path, models: Sequence[str], epochs: int, batch_size: int, peers: str | None
) -> None:
    """Print the table of one data set, with the other libraries."""
    data, train, _ = train_data.read(folder, torch.device("cpu"))
    size = len(train.items)
    print(f"{train.n_users:,} users, {train.n_items:,} items, {size:,} training interactions")
    print(
        f"batches of {batch_size:,}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"\n{HEADER}")
    for name in models:
        result = in_fresh_process(trained, name, folder, epochs, batch_size)
        print(row(name, size, result), flush=True)
    if peers:
        file = folder / "interactions.npz"
        features = data.features.get(VISUAL, torch.zeros(train.n_items, 1))
        np.savez(file, indptr=train.indptr, items=train.items, features=features)
        for peer in PEERS:
            print(row(peer, size, of_peer(peers, peer, file, epochs)), flush=True)


def of_peer(python: str, peer: str, file: Path, epochs: int) -> Result:
    """One model of another library, in its interpreter."""
    command = [
        python,
        str(Path(__file__).resolve().with_name("train_peers.py")),
        peer,
        str(file),
        str(epochs),
    ]
    # In the file's folder, because recbole writes logs into the working directory.
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return Result(fault=f"exit code {done.returncode}")
    if "fault" in found:
        return Result(fault=found["fault"])
    return Result(epoch=found["epoch"], peak=found["peak"])


def grow(root: Path, models: Sequence[str], epochs: int, batch_size: int) -> None:
    """Print seconds per epoch for growing data of constant degrees, and the ratio to the smallest.

    The batch grows by the same factor. Every step of a graph model propagates over all edges, so
    with a fixed batch size the time of an epoch would grow quadratically. Evaluation is left out,
    because ranking all items for all users is quadratic, too.
    """
    folders = []
    for factor in GROWTH:
        users, items, interactions = (factor * count for count in BABY)
        folders.append(made(root / f"x{factor}", (users, items, interactions), (64, 64)))
    print("\n| model |" + "".join(f" x {factor} |" for factor in GROWTH))
    print("|---|" + "---|" * len(GROWTH))
    for name in models:
        seconds = [
            in_fresh_process(trained, name, folder, epochs, factor * batch_size, ranked=False).epoch
            for folder, factor in zip(folders, GROWTH, strict=True)
        ]
        cells = [f"{value:.2f} ({value / seconds[0]:.1f})" for value in seconds]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def made(root: Path, shape: train_data.Shape, dimensions: tuple[int, int]) -> Path:
    """A synthetic data set, ready to train on."""
    train_data.write_synthetic(root / "raw", shape, dimensions)
    return prepared(root / "raw", root / "stages")


def prepared(source: Path, out: Path) -> Path:
    """Run the stages before training in a new process; print their time and peak memory."""
    started = time.perf_counter()
    peak = in_fresh_process(prepare, source, out)
    seconds = time.perf_counter() - started
    print(f"stages before training: {seconds:.1f} s, peak {peak:,} MB", flush=True)
    return out


def prepare(source: Path, out: Path) -> int:
    """Run the stages; return their peak memory in MB."""
    train_data.prepare(source, out)
    return high_water() // 2**20


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a ready-made data set; default: synthetic data")
    parser.add_argument("--models", help="comma separated; all by default")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=2048, help="of brmrs's models")
    parser.add_argument("--electronics", action="store_true", help="synthetic data of that size")
    parser.add_argument("--grow", action="store_true", help="measure 1, 4 and 16 times Baby")
    parser.add_argument("--peers", help="the interpreter of an environment with other libraries")
    given = parser.parse_args()
    models = given.models.split(",") if given.models else None
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if given.grow:
            grow(root, models or GROWING, given.epochs, given.batch_size)
            return
        if given.data:
            folder = prepared(given.data, root / "stages")
        else:
            folder = made(root, ELECTRONICS if given.electronics else BABY, DIMENSIONS)
        models = models or model_names()
        compare(folder, models, given.epochs, given.batch_size, given.peers)


if __name__ == "__main__":
    main()
