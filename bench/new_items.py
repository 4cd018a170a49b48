"""Recall@20 and NDCG@20 of items without training interactions, by how they are scored.

    brmrs run -c configs/baby.yaml --set ingest.path=PATH --until graphs --artifacts STORE
    python bench/new_items.py STORE --model configs/models/lightgcn.yaml [--model ...]

Each model trains on a split `cold-items` of the run's interactions, made here. Its own scores of
the new items are compared with those of `brmrs.serving.new_items`, which places each at its ten
nearest known items by features. The test items are ranked among themselves, and among all items.
The most popular items have no interactions to count, so their order is that of the ids.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from brmrs.columns import FUSED, MODALITIES, TEST
from brmrs.config.load import load, parse
from brmrs.evaluation.metrics import evaluated, means, measure
from brmrs.evaluation.ranking import ranked_items
from brmrs.features import feature_table
from brmrs.graphs import stage as graphs
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer
from brmrs.models.most_popular import popularity
from brmrs.models.registry import build
from brmrs.serving.new_items import place
from brmrs.split import stage as split
from brmrs.stages import BY_NAME, StageContext
from brmrs.stages import SPLIT as SPLIT_FILE
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import inputs_of
from brmrs.store.runs import Run, latest
from brmrs.training.stage import prepare
from brmrs.training.trainer import fit

COLD = {"protocol": "cold-items", "held_out": 0.2, "seed": 0}


def main() -> None:
    """Print the table, each model's rows as soon as it is trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="an artifact store with the run's graphs")
    parser.add_argument("--model", type=Path, action="append", help="a file of configs/models")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print("| scores | users | among the new items | among all items |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for line in table(arguments, Path(folder)):
            print(line, flush=True)


def inputs_of_cold_items(store: ArtifactStore, run: Run, folder: Path) -> dict[str, Path]:
    """The inputs of the stage `train`, with the split and the graphs of `cold-items`."""
    config = parse({**run.config, "split": COLD}, "cold-items")

    def of(name: str) -> dict[str, Path]:
        stage = BY_NAME[name]
        upstream = {each: run.artifact(each) for each in stage.upstream}
        return inputs_of(stage, upstream, store)

    for name, module in (("split", split), ("graphs", graphs)):
        reads, out = of(name), folder / name
        if name == "graphs":
            reads[SPLIT_FILE] = folder / SPLIT_FILE
        out.mkdir()
        module.run(StageContext(config, reads, out, folder))
    return {**of("train"), SPLIT_FILE: folder / SPLIT_FILE, "graphs": folder / "graphs"}


def table(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The rows of the table."""
    store = ArtifactStore(arguments.store)
    run = latest(store, "graphs")
    inputs = inputs_of_cold_items(store, run, folder)
    features = {}
    for modality in MODALITIES:
        x, present = feature_table.read(inputs[f"{modality}_features"] / feature_table.FILE)
        features[modality] = (torch.from_numpy(x), torch.from_numpy(present))
    for number, model in enumerate(arguments.model):
        given = load(None, arguments.overrides, [model]).model_dump(mode="json", exclude_unset=True)
        changed = {**run.config, "model": given["model"], "split": COLD}
        changed["train"] = {**run.config["train"], **given.get("train", {})}
        config = parse(changed, str(model))
        ready = prepare(inputs, config)
        test = UserItems.read(inputs[SPLIT_FILE], TEST, ready.train.n_users, ready.train.n_items)
        trained = build(config.model, ready.data, config.train.seed).to(ready.data.device)
        fit(trained, ready.train, ready.select, config.train, drawn=ready.drawn)
        with torch.no_grad():
            trained.eval()
            own = trained.branches()[FUSED]
        known = torch.zeros(ready.train.n_items, dtype=torch.bool)
        known[ready.train.items] = True
        if number == 0:
            popular = popularity(ready.train.items, ready.train.n_users, ready.train.n_items)
            yield row("most-popular", popular, test, ready.train)
        yield row(f"{config.model.name}, its own", own, test, ready.train)
        placed = place(own, features, known)
        yield row(f"{config.model.name}, placed by features", placed, test, ready.train)


@torch.no_grad()
def row(name: str, scorer: Scorer, test: UserItems, train: UserItems) -> str:
    """One row: Recall@20 / NDCG@20, among the part's items and among all."""
    cells = []
    for among in (ranked_items("cold-items", test), None):
        found = means(measure(scorer, test, train, (20,), among=among))
        cells.append(f"{found['recall@20']:.4f} / {found['ndcg@20']:.4f}")
    return f"| {name} | {len(evaluated(test)):,} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
