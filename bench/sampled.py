"""Milliseconds per step on the whole graph and on sampled neighbours, for growing data.

    OMP_NUM_THREADS=2 python bench/sampled.py [--models lightgcn br-mrs] [--growth 1 4 16 64]

Users, items and interactions are multiples of Baby's, the batch stays the same. Neighbours and
features are random. "rows" are those of the tables that a step updates; all of them with Adam on
the whole graph. The processor's time is that of all threads. The memory is the peak of the resident
set during the steps, less that before the model is made. Every line is measured in a process of its
own.
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import torch
from by_dimension import synthetic

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.columns import MODALITIES
from brmrs.config.learning import TrainConfig
from brmrs.config.models import configure
from brmrs.graphs.sparse import SparseMatrix, stored
from brmrs.models.base import TrainingData
from brmrs.models.registry import build, needs
from brmrs.system import machine
from brmrs.training.optimiser import Optimiser
from brmrs.training.sampling import Sampler, seeded
from brmrs.training.trainer import freed_memory_reused

BABY = {"users": 19_445, "items": 7_050, "interactions": 118_551}
FEATURES, NEIGHBOURS = 64, 10  # numbers of a vector, edges of a node in its homogeneous graph
CPU = torch.device("cpu")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["lightgcn", "br-mrs"])
    parser.add_argument("--growth", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--neighbours", nargs="+", default=["all", "10,5"], help="by layer")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    print("| model | data | neighbours | rows | ms/step | processor ms/step | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for name in given.models:
        for shown in given.neighbours:
            sizes = () if shown == "all" else tuple(map(int, shown.split(",")))
            for factor in given.growth:
                arguments = {**vars(given), "name": name, "sizes": sizes, "factor": factor}
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    found = pool.submit(measured, arguments).result()
                cells = " | ".join(f"{value:,.0f}" for value in found)
                print(f"| {name} | x {factor} | {shown} | {cells} |", flush=True)


def measured(arguments: dict[str, Any]) -> tuple[float, float, float, float]:
    """Rows, and of the steps after the first the median ms and processor ms; MB."""
    grown = {name: arguments["factor"] * count for name, count in BABY.items()}
    inputs = synthetic({**arguments, **grown})
    section = configure(arguments["name"], layers=arguments["layers"])
    whole = with_content(inputs.data) if needs(section) else inputs.data
    data = replace(whole, sampled_neighbours=arguments["sizes"])
    config = TrainConfig(batch_size=arguments["batch_size"])
    held = resident()
    model = build(section, data, 0)
    sampler = Sampler(inputs.train, model.n_negatives)
    parameters = list(model.parameters())
    named = dict(model.named_parameters())
    tables = [named[name] for name in (*model.user_tables, *model.item_tables) if name in named]
    batches = sampler.batches(config.batch_size)
    optimiser = Optimiser(parameters, config, batches, by_row=model.by_row())
    generator = seeded(0, 1, 0, CPU)
    model.begin_epoch(generator)
    seconds, used = [], []
    with machine.peak_memory() as memory, freed_memory_reused(model):
        for batch in sampler.epoch(config.batch_size, generator):
            started, busy = time.perf_counter(), time.process_time()
            terms = model.loss(batch, generator)
            optimiser.step(torch.stack(list(terms.values())).sum())
            seconds.append(time.perf_counter() - started)
            used.append(time.process_time() - busy)
            if len(seconds) == arguments["steps"]:
                break
    rows = sum(len(stored(table.grad)) for table in tables if table.grad is not None)
    wall, busy = (1000 * statistics.median(times[1:]) for times in (seconds, used))
    return rows, wall, busy, (memory.bytes - held) / 1e6


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def with_content(data: TrainingData) -> TrainingData:
    """The same with random features and random homogeneous graphs."""
    generator = torch.Generator().manual_seed(1)
    features = {m: torch.randn(data.items, FEATURES, generator=generator) for m in MODALITIES}
    present = {m: torch.ones(data.items, dtype=torch.bool) for m in MODALITIES}
    graphs = [random_graph(size, generator) for size in (data.items, data.users)]
    return replace(
        data, features=features, present=present, item_graph=graphs[0], user_graph=graphs[1]
    )


def random_graph(size: int, generator: torch.Generator) -> SparseMatrix:
    """(size, size) with `NEIGHBOURS` equal weights per row, less where one was drawn twice."""
    columns = torch.randint(0, size, (size, NEIGHBOURS), generator=generator)
    rows = torch.arange(size).unsqueeze(1).expand_as(columns)
    keys = torch.unique(rows * size + columns)
    weights = torch.full((len(keys),), 1 / NEIGHBOURS)
    return SparseMatrix.from_edges(keys // size, keys % size, weights, (size, size))


if __name__ == "__main__":
    main()
