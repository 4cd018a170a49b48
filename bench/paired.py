"""Stored models with several seeds against the first group, paired over the test users.

    python bench/paired.py STORE -c configs/baby.yaml br-mrs=DIR,DIR,... ssc=DIR,DIR,...

DIR are folders that `train` wrote, `STORE/objects/train/DIGEST`, one per seed; DIR+DIR is the sum
of two models. With `--residuals`, the residual scores of the configuration are fitted and added.
The weights of sums are searched on the validation split, as a run does after the training.

Of each user the mean over the seeds is taken. `minus` is the group less the first one, with the
95 % interval of the paired bootstrap over the users. p is Wilcoxon's signed-rank test, corrected by
Holm for all comparisons of the call.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from stored import BESIDE_WEIGHT, data_for, own

from brmrs.columns import MODEL
from brmrs.config.load import load as load_config
from brmrs.evaluation.comparison import Comparison, compare
from brmrs.evaluation.metrics import measure
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle, residuals
from brmrs.models.base import Scorer
from brmrs.models.bundle import Bundle
from brmrs.models.standardised import StandardisedSum
from brmrs.training.residual_weights import choose
from brmrs.training.stage import Prepared

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
COMPARED = ("recall@20", "ndcg@20")
Group = dict[str, np.ndarray]  # by metric, (seeds, users)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path, help="an artifact store with the data's graphs")
    parser.add_argument("groups", nargs="+", help="NAME=DIR,DIR,...; the first is the reference")
    parser.add_argument("-c", "--config", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--residuals", action="store_true", help="add the residual scores")
    given = parser.parse_args()
    chosen = load_config(given.config, given.overrides)
    config, ready, test = data_for(given.store, chosen.model)
    wanted = config.model.residuals
    added = residuals.fitted(wanted, ready.data) if given.residuals else {}
    groups: dict[str, Group] = {}
    print(f"| model | seeds | {' | '.join(METRICS)} | validation {COMPARED[0]} | best epochs |")
    print(f"|---|---|{'---|' * (len(METRICS) + 2)}")
    for name, folders in (text.split("=", 1) for text in given.groups):
        seeds = [
            [bundle.load(Path(path)) for path in each.split("+")] for each in folders.split(",")
        ]
        scorers = [summed(each, added, wanted.weights, ready) for each in seeds]
        groups[name] = measured(scorers, test, ready)
        cells = [spread(groups[name][metric]) for metric in METRICS]
        cells.append(spread(measured(scorers, ready.validation, ready)[COMPARED[0]]))
        epochs = ", ".join("+".join(str(one.about.best_epoch) for one in each) for each in seeds)
        print(f"| {name} | {len(seeds)} | {' | '.join(cells)} | {epochs} |", flush=True)
    print_differences(groups)


@torch.no_grad()
def summed(
    models: Sequence[Bundle],
    added: Mapping[str, Scorer],
    weights: Mapping[str, float],
    ready: Prepared,
) -> Scorer:
    """The models of one seed and the residual scores, added; one model alone as it is."""
    first, *others = [own(each) for each in models]
    beside = {f"model {n}": scorer for n, scorer in enumerate(others, 2)}
    parts = {MODEL: first, **beside, **added}
    if len(parts) == 1:
        return first
    start = {**dict.fromkeys(beside, BESIDE_WEIGHT), **{name: weights[name] for name in added}}
    found = choose(parts, start, ready.validation, ready.train, COMPARED[0])
    return StandardisedSum(torch.tensor([1.0, *found.values()], dtype=torch.float32), parts)


@torch.no_grad()
def measured(scorers: Iterable[Scorer], held_out: UserItems, ready: Prepared) -> Group:
    """The metrics of every user, one row per seed."""
    found = [measure(scorer, held_out, ready.train, (10, 20)) for scorer in scorers]
    return {name: np.stack([each[name].numpy() for each in found]) for name in METRICS}


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation over the seeds of the mean over the users."""
    seeds = values.mean(axis=1)
    text = f"{seeds.mean():.4f}"
    return f"{text} ± {seeds.std(ddof=1):.4f}" if len(seeds) > 1 else text


def print_differences(groups: Mapping[str, Group]) -> None:
    """The second table."""
    reference, *others = groups
    differences = {
        (name, metric): (groups[name][metric].mean(axis=0) - groups[reference][metric].mean(axis=0))
        for name in others
        for metric in COMPARED
    }
    found = compare(differences)
    print(f"\n| minus {reference} | {' | p | '.join(COMPARED)} | p |\n|---|{'---|' * 4}")
    for name in others:
        cells = [cell(found[name, metric]) for metric in COMPARED]
        print(f"| {name} | {' | '.join(cells)} |")


def cell(found: Comparison) -> str:
    """Difference, interval and corrected p."""
    return f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}] | {found.p_holm:.2g}"


if __name__ == "__main__":
    main()
