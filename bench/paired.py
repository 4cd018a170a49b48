"""Stored models with several seeds against the first group, paired over the test users.

    python bench/paired.py STORE -c configs/baby.yaml br-mrs=DIR,DIR,... ssc=DIR,DIR,...

DIR are folders that `train` wrote, `STORE/objects/train/DIGEST`, one per seed. Of each user the
mean over the seeds is taken. `difference` is the group minus the first one, with the 95 % interval
of the paired bootstrap over the users. p is Wilcoxon's signed-rank test, corrected by Holm for all
comparisons of the call. `--alone` leaves out the residual scores of the models that have them.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from stored import data_for, own

from brmrs.columns import FUSED
from brmrs.config.load import load as load_config
from brmrs.evaluation.comparison import Comparison, compare
from brmrs.evaluation.metrics import measure
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.models.base import Scorer
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
    parser.add_argument("--alone", action="store_true", help="without residual scores")
    given = parser.parse_args()
    chosen = load_config(given.config, given.overrides)
    _, ready, test = data_for(given.store, chosen.model)
    groups: dict[str, Group] = {}
    print(f"| model | seeds | {' | '.join(METRICS)} | validation {COMPARED[0]} | best epochs |")
    print(f"|---|---|{'---|' * (len(METRICS) + 2)}")
    for name, folders in (text.split("=", 1) for text in given.groups):
        stored = [bundle.load(Path(folder)) for folder in folders.split(",")]
        scorers = [own(each) if given.alone else each.branches[FUSED] for each in stored]
        groups[name] = measured(scorers, test, ready)
        cells = [spread(groups[name][metric]) for metric in METRICS]
        cells.append(spread(measured(scorers, ready.validation, ready)[COMPARED[0]]))
        epochs = ", ".join(str(each.about.best_epoch) for each in stored)
        print(f"| {name} | {len(stored)} | {' | '.join(cells)} | {epochs} |", flush=True)
    print_differences(groups)


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
