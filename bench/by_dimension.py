"""LightGCN in one process and in several, each with a share of the columns: memory, traffic, time.

    OMP_NUM_THREADS=2 python bench/by_dimension.py [--users 192403] [--processes 1 2]

"shared" is the file with the interactions and their graph, which all processes of the machine map
into memory. "own" is the peak of a process's other memory from the loading of the inputs to the
last step, less what it held before: tables, gradients, Adam's moments, the order of an epoch, and
what a step keeps.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
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
from brmrs.training import by_dimension
from brmrs.training.learn import Inputs
from brmrs.training.member import Job, Member
from brmrs.training.optimiser import Optimiser
from brmrs.training.sampling import Sampler, seeded
from brmrs.training.trainer import freed_memory_reused

CPU = torch.device("cpu")
STATUS = Path("/proc/self/status")


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
    print("| processes | shared MB | own MB per process | MB in all | bytes per step | ms/step |")
    print("|---|---|---|---|---|---|")
    for count in arguments.processes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shared = by_dimension.share(synthetic(vars(arguments)), folder)
            size = (folder / "inputs").stat().st_size / 1e6
            job = Job(measured, count, arguments.dim, CPU, (vars(arguments),), shared)
            rows = by_dimension.launch(job, folder)
        own = [row["own"] / 1e6 for row in rows]
        sent, seconds = (max(row[each] for row in rows) for each in ("sent", "seconds"))
        print(
            f"| {count} | {size:,.0f} | {max(own):,.0f} | {size + sum(own):,.0f} | {sent:,.0f} | "
            f"{1000 * seconds:,.0f} |",
            flush=True,
        )


def measured(member: Member, arguments: dict[str, Any]) -> list[Any]:
    """Of every process: bytes of its own memory; bytes sent and seconds of a step."""
    tiny = {**arguments, "users": 100, "items": 50, "interactions": 1000, "batch_size": 10}
    steps(member.columns, synthetic(tiny), tiny)  # libraries that the first step loads
    return member.columns.everywhere(steps(member.columns, member.inputs, arguments))


def steps(columns: Columns, inputs: Inputs, arguments: dict[str, Any]) -> dict[str, float]:
    """Make a few steps."""
    before = anonymous()
    seconds = []
    with peak_of_own() as peak:
        config = TrainConfig(batch_size=arguments["batch_size"])
        data = replace(inputs.data, columns=columns)
        model = build(configure("lightgcn", dim=arguments["dim"]), data, 0)
        sampler = Sampler(inputs.train, 1)
        parameters = list(model.parameters())
        optimiser = Optimiser(parameters, config, sampler.batches(config.batch_size), columns)
        generator = seeded(0, 1, 0, CPU)
        with freed_memory_reused(model):
            for batch in sampler.epoch(config.batch_size, generator):
                started, sent = time.perf_counter(), columns.traffic.sent
                terms = model.loss(batch, generator)
                optimiser.step(torch.stack(list(terms.values())).sum())
                seconds.append(time.perf_counter() - started)
                if len(seconds) == arguments["steps"]:
                    break
    return {
        "own": peak[0] - before,
        "sent": columns.traffic.sent - sent,
        "seconds": min(seconds[1:]),
    }


def anonymous() -> int:
    """Bytes of this process in memory that are no part of a file."""
    (line,) = [row for row in STATUS.read_text().splitlines() if row.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


@contextmanager
def peak_of_own() -> Iterator[list[int]]:
    """The peak of `anonymous` within the block, looked up every 10 ms."""
    peak, ended = [anonymous()], threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            peak[0] = max(peak[0], anonymous())

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield peak
    finally:
        ended.set()
        looker.join()


def synthetic(arguments: dict[str, Any]) -> Inputs:
    """Random interactions, popular items first."""
    rng = np.random.default_rng(0)
    n_users, n_items = arguments["users"], arguments["items"]
    users = rng.integers(0, n_users, arguments["interactions"])
    items = (n_items * rng.random(len(users)) ** 2).astype(np.int64)
    train = UserItems.from_pairs(torch.from_numpy(users), torch.from_numpy(items), n_users, n_items)
    graph = bipartite.normalised(train.users, train.items, n_users, n_items)
    _ = train.free_below  # as the stage does
    data = TrainingData(n_users, n_items, train.users, train.items, graph)
    return Inputs(train, train, data)


if __name__ == "__main__":
    main()
