"""Recall@20 of fold-in beside the retrained model, on users held out of training.

    brmrs run -c configs/baby.yaml --set ingest.path=PATH --until graphs --artifacts STORE
    python bench/fold_in.py STORE --model configs/models/lightgcn.yaml [--model ...]

A share of the users with test items is drawn. One model trains without any interaction of these
users, in its graphs neither, and gets their training items as histories afterwards. The other model
trains on all users, as in a run. Both rank for the drawn users, on their test items. The most
popular items, counted without the drawn users, are the lower reference. "Same items" is fold-in on
the model of all users, fitted without the drawn ones: it isolates the rule from the items'
training.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from brmrs.columns import FUSED, SPLIT, TEST, TRAIN, USER
from brmrs.config.load import load, parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.evaluation.metrics import evaluated, measure
from brmrs.evaluation.paired import interval
from brmrs.graphs import stage as graphs
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer
from brmrs.models.most_popular import popularity
from brmrs.models.registry import build
from brmrs.stages import SPLIT as SPLIT_FILE
from brmrs.stages import StageContext, of_model
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import inputs_of
from brmrs.store.runs import latest
from brmrs.training.stage import prepare
from brmrs.training.trainer import fit

METRICS = ("recall@20", "ndcg@20")


def main() -> None:
    """Print the table, each model's row as soon as it is trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="an artifact store with the run's graphs")
    parser.add_argument("--model", type=Path, action="append", help="a file of configs/models")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--share", type=float, default=0.1, help="of the users, held out")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print("| model | users | most popular | fold-in | same items | retrained | difference (95 %) |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.model:
            for line in compare(arguments, model, Path(folder)):
                print(line, flush=True)


def compare(arguments: argparse.Namespace, model: Path, folder: Path) -> Iterator[str]:
    """The rows of one model."""
    store = ArtifactStore(arguments.store)
    run = latest(store, "graphs")
    chosen = load(None, arguments.overrides, [model])
    changed = {**run.config, "model": chosen.model.model_dump(mode="json")}
    changed["train"] = {**run.config["train"], **_given(model, arguments.overrides, "train")}
    config = parse(changed, str(model))
    train = next(stage for stage in of_model(config) if stage.name == "train")
    artifacts = {name: run.artifact(name) for name in train.upstream}
    inputs = inputs_of(train, artifacts, store)
    table = pq.read_table(store.path(run.artifact("split"), SPLIT_FILE))
    users = np.unique(table[USER].to_numpy()[table[SPLIT].to_numpy() == TEST])
    draw = np.random.default_rng(arguments.seed).random(len(users)) < arguments.share
    held_out = users[draw]
    without = dict(inputs)
    without[SPLIT_FILE] = folder / "interactions.parquet"
    gone = np.isin(table[USER].to_numpy(), held_out)
    pq.write_table(table.filter(pa.array(~gone)), without[SPLIT_FILE])
    if "graphs" in inputs:
        stage = next(stage for stage in of_model(config) if stage.name == "graphs")
        upstream = {name: run.artifact(name) for name in stage.upstream}
        reads = {**inputs_of(stage, upstream, store), SPLIT_FILE: without[SPLIT_FILE]}
        without["graphs"] = folder / "graphs"
        without["graphs"].mkdir(exist_ok=True)
        graphs.run(StageContext(config, reads, without["graphs"], folder))
    n_users, n_items = len(prepare(inputs, config).users), len(prepare(inputs, config).items)
    test, histories = (
        UserItems.read(inputs[SPLIT_FILE], part, n_users, n_items) for part in (TEST, TRAIN)
    )
    test, histories = (only(each, held_out, n_users) for each in (test, histories))
    full, everyone = trained(inputs, config)
    others = only(everyone, np.setdiff1d(np.arange(n_users), held_out), n_users)
    partial, seen = trained(without, config)
    popular = popularity(seen.items, n_users, n_items)
    with torch.no_grad():
        new = partial.fold_in(seen)(histories)
        same = full.fold_in(others)(histories)
    rows = {
        name: measure(scorer, test, histories, (20,))
        for name, scorer in (("popular", popular), ("new", new), ("same", same), ("full", full))
    }
    for metric in METRICS:
        values = {name: row[metric].numpy() for name, row in rows.items()}
        low, high = interval(values["new"] - values["full"])
        means = " | ".join(f"{value.mean():.4f}" for value in values.values())
        difference = f"{(values['new'] - values['full']).mean():+.4f} ({low:+.4f} to {high:+.4f})"
        name = f"{config.model.name}, {metric}"
        yield f"| {name} | {len(evaluated(test)):,} | {means} | {difference} |"


def trained(inputs: dict[str, Path], config: PipelineConfig) -> tuple[Scorer, UserItems]:
    """The fused scorer of a trained model, and its training items."""
    ready = prepare(inputs, config)
    model = build(config.model, ready.data, config.train.seed).to(ready.data.device)
    fit(model, ready.train, ready.select, config.train)
    with torch.no_grad():
        model.eval()
        return model.branches()[FUSED], ready.train


def only(sets: UserItems, users: np.ndarray, n_users: int) -> UserItems:
    """The sets of some users; those of all others are empty."""
    rows, items = sets.of(torch.from_numpy(users.astype(np.int64)))
    return UserItems.from_pairs(torch.from_numpy(users)[rows].long(), items, n_users, sets.n_items)


def _given(model: Path, overrides: list[str], section: str) -> dict[str, object]:
    """The fields of a section that the model's file and the overrides set."""
    config = load(None, overrides, [model])
    plain = config.model_dump(mode="json", exclude_unset=True)
    found: dict[str, object] = plain.get(section, {})
    return found


if __name__ == "__main__":
    main()
