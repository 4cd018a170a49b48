"""Recall@20 and NDCG@20 of items without training interactions, by how they are scored.

    brmrs run -c configs/baby.yaml --set ingest.path=PATH --set split.protocol=cold-items \
        --until graphs --artifacts STORE
    python bench/new_items.py STORE --model configs/models/lightgcn.yaml [--model ...]

Each model trains on the split `cold-items`. Its own scores of the new items are compared with those
of `brmrs.serving.new_items`, which places each at its ten nearest known items by features. The test
items are ranked among themselves, and among all items. The most popular items have no interactions
to count, so their order among the new items is that of the ids.
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch

from brmrs.columns import FUSED, MODALITIES, TEST
from brmrs.config.load import load, parse
from brmrs.evaluation.metrics import evaluated, means, measure
from brmrs.evaluation.ranking import ranked_items
from brmrs.features import feature_table
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer
from brmrs.models.most_popular import popularity
from brmrs.models.registry import build
from brmrs.serving.new_items import place
from brmrs.stages import BY_NAME
from brmrs.stages import SPLIT as SPLIT_FILE
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import inputs_of
from brmrs.store.runs import latest
from brmrs.training.stage import prepare
from brmrs.training.trainer import fit


def main() -> None:
    """Print the table, each model's rows as soon as it is trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="an artifact store with the run's graphs")
    parser.add_argument("--model", type=Path, action="append", help="a file of configs/models")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print("| scores | users | among the new items | among all items |\n|---|---|---|---|")
    for line in table(arguments):
        print(line, flush=True)


def table(arguments: argparse.Namespace) -> Iterator[str]:
    """The rows of the table."""
    store = ArtifactStore(arguments.store)
    run = latest(store, "graphs")
    train = BY_NAME["train"]
    inputs = inputs_of(train, {name: run.artifact(name) for name in train.upstream}, store)
    features = {}
    for modality in MODALITIES:
        x, present = feature_table.read(inputs[f"{modality}_features"] / feature_table.FILE)
        features[modality] = (torch.from_numpy(x), torch.from_numpy(present))
    for number, model in enumerate(arguments.model):
        given = load(None, arguments.overrides, [model]).model_dump(mode="json", exclude_unset=True)
        changed = {**run.config, "model": given["model"]}
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
