"""The two lower bounds of the time of an epoch of BR-MRS on a ready-made data set.

`python bench/train_limits.py FOLDER` prints two bounds and the ratio of the measured epoch to each:
the bytes to move over the measured memory bandwidth, and the operations over the measured rate of a
matrix product. Each operation reads or writes each table once, and no table stays in the cache
between two operations. Gathered rows count once per table.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import train
import train_data

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.config.learning import TrainConfig
from brmrs.config.models import configure
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models.base import TrainingData
from brmrs.training.stage import device

FLOAT = 4  # bytes
EDGE = FLOAT + 4  # bytes of an edge: its value and an int32 column
ADAM = 7  # passes: value, gradient, two moments read; value, moments written
SIZE = 2**26  # floats copied to measure the bandwidth
SIDE = 2048  # of the matrices multiplied to measure the rate


def best(work: Callable[[], object], on: torch.device, repeats: int = 5) -> float:
    """Seconds of the fastest of several runs."""
    seconds = []
    for _ in range(repeats):
        started = train.synchronised(on)
        work()
        seconds.append(train.synchronised(on) - started)
    return min(seconds)


def bandwidth(on: torch.device) -> float:
    """Bytes per second of a large copy, read and written."""
    source, target = torch.ones(SIZE, device=on), torch.ones(SIZE, device=on)
    return 2 * FLOAT * SIZE / best(lambda: target.copy_(source), on)


def rate(on: torch.device) -> float:
    """Operations per second of a large float32 matrix product."""
    a = torch.ones(SIDE, SIDE, device=on)
    return float(2 * SIDE**3 / best(lambda: a @ a, on))


def edges(graph: SparseMatrix | None) -> int:
    """Entries of a graph."""
    return 0 if graph is None else graph.csr.values().numel()


def counted(data: TrainingData, model: Any, batch: int) -> tuple[float, float]:
    """Bytes and operations of one step: forward, backward and Adam."""
    width = len(data.features) * model.dim
    rows = data.users + data.items
    table = FLOAT * rows * width
    kept = (1 - model.edge_dropout) * len(data.train_users)
    smoothed = model.item_layers * edges(data.item_graph) + model.user_layers * edges(
        data.user_graph
    )
    products = smoothed + 2 * model.layers * kept  # entries multiplied, in one direction
    features = sum(data.items * min(x.shape[1], model.feature_dim) for x in data.features.values())
    looked_up = FLOAT * width * batch * (2 + model.pool)
    passes = 3 * (1 + model.layers)  # of each sum E + A H: two tables read, one written
    moved = 2 * (passes * table + EDGE * products + FLOAT * features + 2 * looked_up)
    return moved + (1 + ADAM) * table, 2 * 2 * (products * width + features * model.dim)


def main() -> None:
    """Print the bounds and the measured time of an epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = train.prepared(given.data, Path(name) / "stages")
        data, _, _ = train_data.read(folder, torch.device("cpu"))
        batch = TrainConfig().batch_size
        seconds = train.in_fresh_process(train.trained, "br-mrs", folder, 4, batch).epoch
    on = device(TrainConfig())  # where the epoch ran
    steps = -(-len(data.train_users) // batch)
    for amount, speed, unit in zip(
        counted(data, configure("br-mrs"), batch),
        (bandwidth(on), rate(on)),
        ("GB", "GFLOP"),
        strict=True,
    ):
        limit = steps * amount / speed
        print(
            f"{steps * amount / 1e9:.1f} {unit} at {speed / 1e9:.0f} {unit}/s: {limit:.2f} s; "
            f"an epoch takes {seconds:.2f} s, {seconds / limit:.1f} times that"
        )


if __name__ == "__main__":
    main()
