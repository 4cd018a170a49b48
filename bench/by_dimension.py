"""LightGCN in one process and in several, each with a share of the columns: memory, traffic, time.

    OMP_NUM_THREADS=2 python bench/by_dimension.py [--users 192403] [--processes 1 2]

The memory of a process is the peak of its resident set during the steps, less that before the
model is made: tables, gradients, Adam's moments and what a step keeps. Every process also holds the
interactions and their graph.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch

from brmrs.config.learning import TrainConfig
from brmrs.config.models import configure
from brmrs.graphs import bipartite
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import TrainingData
from brmrs.models.columns import Columns
from brmrs.models.registry import build
from brmrs.system import machine
from brmrs.training import by_dimension
from brmrs.training.optimiser import Optimiser
from brmrs.training.sampling import Sampler, seeded
from brmrs.training.trainer import freed_memory_reused

CPU = torch.device("cpu")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=192_403)
    parser.add_argument("--items", type=int, default=63_001)
    parser.add_argument("--interactions", type=int, default=1_250_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=65_536)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="+", default=(1, 2))
    arguments = parser.parse_args()
    print("| processes | data MB | model MB per process | bytes sent per step | ms/step |")
    print("|---|---|---|---|---|")
    for count in arguments.processes:
        rows = by_dimension.launch(measured, count, arguments.dim, CPU, vars(arguments))
        data, model = (max(row[name] for row in rows) / 1e6 for name in ("data", "model"))
        sent, seconds = (max(row[name] for row in rows) for name in ("sent", "seconds"))
        print(
            f"| {count} | {data:,.0f} | {model:,.0f} | {sent:,.0f} | {1000 * seconds:,.0f} |",
            flush=True,
        )


def measured(columns: Columns, on: torch.device, arguments: dict[str, Any]) -> list[Any]:
    """Of every process: bytes of the data and of the model; bytes sent and seconds of a step."""
    tiny = {**arguments, "users": 100, "items": 50, "interactions": 1000, "batch_size": 10}
    steps(columns, on, tiny)  # libraries that the first step loads are no part of the model
    return columns.everywhere(steps(columns, on, arguments))


def steps(columns: Columns, on: torch.device, arguments: dict[str, Any]) -> dict[str, float]:
    """Make a few steps."""
    before = resident()
    data, train = synthetic(arguments, columns)
    held = resident()
    config = TrainConfig(batch_size=arguments["batch_size"])
    model = build(configure("lightgcn", dim=arguments["dim"]), data, 0)
    sampler = Sampler(train, 1)
    parameters = list(model.parameters())
    optimiser = Optimiser(parameters, config, sampler.batches(config.batch_size), columns)
    generator = seeded(0, 1, 0, on)
    seconds = []
    with machine.peak_memory() as memory, freed_memory_reused(model):
        for batch in sampler.epoch(config.batch_size, generator):
            started, sent = time.perf_counter(), columns.traffic.sent
            terms = model.loss(batch, generator)
            optimiser.step(torch.stack(list(terms.values())).sum())
            seconds.append(time.perf_counter() - started)
            if len(seconds) == arguments["steps"]:
                break
    return {
        "data": held - before,
        "model": memory.bytes - held,
        "sent": columns.traffic.sent - sent,
        "seconds": min(seconds[1:]),
    }


def synthetic(arguments: dict[str, Any], columns: Columns) -> tuple[TrainingData, UserItems]:
    """Random interactions, popular items first."""
    rng = np.random.default_rng(0)
    n_users, n_items = arguments["users"], arguments["items"]
    users = rng.integers(0, n_users, arguments["interactions"])
    items = (n_items * rng.random(len(users)) ** 2).astype(np.int64)
    train = UserItems.from_pairs(torch.from_numpy(users), torch.from_numpy(items), n_users, n_items)
    graph = bipartite.normalised(train.users, train.items, n_users, n_items)
    data = TrainingData(n_users, n_items, train.users, train.items, graph, columns=columns)
    return data, train


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


if __name__ == "__main__":
    main()
