"""What each residual score is worth: stored models with all, without one, and each score alone.

    brmrs run -c configs/baby.yaml --set ingest.path=PATH --artifacts STORE
    python bench/residuals.py STORE STORE/objects/train/DIGEST ... -c configs/baby.yaml

The residual scores are fitted anew to each stored model, with the settings of the configuration.
Their weights are searched on the validation split, as a run does after the training; for a row
without a score, they are searched anew. `--beside` adds other models to the sum (an ensemble).
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from stored import BESIDE_WEIGHT, data_for, own

from brmrs.columns import MODEL
from brmrs.config.load import load as load_config
from brmrs.evaluation.metrics import measure
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle, residuals
from brmrs.models.base import Scorer
from brmrs.models.standardised import StandardisedSum
from brmrs.training.residual_weights import choose
from brmrs.training.stage import Prepared

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")


def main() -> None:
    """Print one table per stored model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="an artifact store with the data's graphs")
    parser.add_argument("models", type=Path, nargs="+", help="folders that `train` wrote")
    parser.add_argument("-c", "--config", type=Path, required=True, help="model.residuals")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--beside", type=Path, action="append", default=[], help="a model to add")
    parser.add_argument(
        "--only-all", action="store_true", help="leave out the rows of single scores"
    )
    parser.add_argument("--test", action="store_true", help="evaluate the test split, too")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    chosen = load_config(arguments.config, arguments.overrides)
    config, ready, test = data_for(arguments.store, chosen.model)
    splits = {"validation": ready.validation, **({"test": test} if arguments.test else {})}
    wanted = config.model.residuals
    scores = residuals.fitted(wanted, ready.data)
    stored = [bundle.load(path) for path in arguments.beside]
    beside = {f"{each.about.model['name']} {n}": own(each) for n, each in enumerate(stored, 1)}
    # The residual score `ssc` is a trained model: give a stored one with --beside.
    closed = {name: wanted.weights[name] for name in scores}
    weights = {**dict.fromkeys(beside, BESIDE_WEIGHT), **closed}
    for path in arguments.models:
        print(f"\n{path.name[:8]}\n| scores | weights | {' | '.join(columns(splits))} |")
        print("|" + "---|" * (2 + len(splits) * len(METRICS)))
        parts = {MODEL: own(bundle.load(path)), **beside, **scores}
        sets: dict[str, list[str]] = {"all": [*weights]}
        if not arguments.only_all:
            sets |= {"the model alone": []}
            sets |= {f"without {n}": [o for o in weights if o != n] for n in weights}
        for name, kept in sets.items():
            print(row(name, parts, {n: weights[n] for n in kept}, ready, splits), flush=True)
        if not arguments.only_all:
            for name in weights:
                print(line(name, "", parts[name], ready, splits), flush=True)


def columns(splits: Mapping[str, UserItems]) -> list[str]:
    """Titles of the metrics."""
    return [f"{split} {metric}" for split in splits for metric in METRICS]


@torch.no_grad()
def row(
    name: str,
    parts: Mapping[str, Scorer],
    start: Mapping[str, float],
    ready: Prepared,
    splits: Mapping[str, UserItems],
) -> str:
    """The line of the sum of some parts, its weights searched on the validation split."""
    used = {MODEL: parts[MODEL], **{n: parts[n] for n in start}}
    if not start:
        return line(name, "", parts[MODEL], ready, splits)
    weights = choose(used, start, ready.validation, ready.train, "recall@20")
    values = torch.tensor([1.0, *weights.values()], dtype=torch.float32)
    text = ", ".join(f"{n} {w:.3g}" for n, w in weights.items())
    return line(name, text, StandardisedSum(values, used), ready, splits)


@torch.no_grad()
def line(
    name: str, weights: str, scorer: Scorer, ready: Prepared, splits: Mapping[str, UserItems]
) -> str:
    """A line of the table."""
    found = [measure(scorer, held_out, ready.train, (10, 20)) for held_out in splits.values()]
    values = [f"{metrics[metric].mean():.4f}" for metrics in found for metric in METRICS]
    return f"| {name} | {weights} | {' | '.join(values)} |"


if __name__ == "__main__":
    main()
