"""Which models rank planted synergy: Recall by the type of the positive.

    python bench/planted_synergy.py train RUNS.jsonl      # adds to the file what it lacks
    python bench/planted_synergy.py table RUNS.jsonl      # the tables of docs/planted-synergy.md

By default the features are the planted attributes themselves, so a model only has to find what
users like about them. Each seed draws a data set, its split and the initial weights. With `--dumps
FOLDER` the features are those of the texts and pictures of sample dumps; then the seeds share the
dump, and `--set` gives settings of its stages, such as features.visual.backbone=vgg16.

There are 2,000 items and 1,500 users with about 7 interactions each. So an item has 5: too few to
learn what it is from interactions alone. The default sample has 21 an item, and LightGCN ranks
synergistic positives there as well as all others. A run takes 10 to 100 seconds on one core.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from planted_data import TYPES, Data, Ints, of_attributes, of_models

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.columns import FUSED, SPLIT_NAMES, SYNERGY, TEST, VALIDATION
from brmrs.config.learning import TrainConfig
from brmrs.config.models import configure
from brmrs.evaluation.paired import interval
from brmrs.evaluation.ranking import top_k
from brmrs.models.registry import build
from brmrs.training.selection import selector
from brmrs.training.trainer import fit

Floats = NDArray[np.float64]
Key = tuple[float, int, str]  # strength of the synergy, seed, variant

STRENGTHS = (1.6, 0.8, 2.4)  # of the synergy, the most important one first
SEEDS = range(5)
K = 20
IDS = {"dim": 32}  # the default of BR-MRS: items have free embeddings
OURS = {**IDS, "id_embeddings": False}
JOINT = {**OURS, "fusion": "joint"}
RESIDUAL = {**OURS, "fusion": "residual"}
LETTER = {  # configs/models/br-mrs-by-the-letter.yaml
    "fusion": "residual", "theta": 0.1, "pool": 16, "detach_reference": False, "chns": 1.0,
    "synergy": 1.0, "bpr": 0.0, "id_embeddings": False, "feature_dim": 100000, "edge_dropout": 0.0,
}  # fmt: skip
LETTER_JOINT = {**IDS, **LETTER, "fusion": "joint"}

Variant = tuple[str, dict[str, Any]]  # the model and its settings
SHOWN = "concat, products shown"  # the upper bound: the text also shows the products
MAIN: dict[str, Variant] = {
    "joint": ("br-mrs", JOINT),
    "joint, no synergy loss": ("br-mrs", {**JOINT, "synergy": 0.0}),
    "joint, synergy=1": ("br-mrs", {**JOINT, "synergy": 1.0}),
    "joint, no CHNS": ("br-mrs", {**JOINT, "chns": 0.0}),
    "joint, fused BPR alone": ("br-mrs", {**JOINT, "chns": 0.0, "synergy": 0.0}),
    "concat": ("br-mrs", OURS),
    "concat, no synergy loss": ("br-mrs", {**OURS, "synergy": 0.0}),
    "concat, no CHNS": ("br-mrs", {**OURS, "chns": 0.0}),
    "residual": ("br-mrs", RESIDUAL),
    "residual, no synergy loss": ("br-mrs", {**RESIDUAL, "synergy": 0.0}),
    "bilinear": ("br-mrs", {**OURS, "fusion": "bilinear"}),
    "gate": ("br-mrs", {**OURS, "fusion": "gate"}),
    "attention": ("br-mrs", {**OURS, "fusion": "attention"}),
    "by the letter": ("br-mrs", {**IDS, **LETTER}),
    "by the letter, joint": ("br-mrs", LETTER_JOINT),
    "by the letter, joint, no synergy loss": ("br-mrs", {**LETTER_JOINT, "synergy": 0.0}),
    "default (concat, item ids)": ("br-mrs", IDS),
    "default, joint": ("br-mrs", {**IDS, "fusion": "joint"}),
    "lightgcn": ("lightgcn", IDS),
    "freedom": ("freedom", IDS),
    "bm3": ("bm3", IDS),
    SHOWN: ("br-mrs", OURS),
}
FIRST = (
    "joint",
    "joint, no synergy loss",
    "joint, no CHNS",
    "joint, fused BPR alone",
    "concat",
    "residual",
    "lightgcn",
    SHOWN,
)
AT_EVERY_STRENGTH = (*FIRST, "freedom", "bm3")
# Each deviation of the default from the method, undone alone (docs/method.md).
DEVIATIONS: dict[str, Variant] = {
    f"default, {name}={value}": ("br-mrs", {**IDS, name: value})
    for name, value in (
        ("theta", 0.1),
        ("pool", 16),
        ("detach_reference", False),
        ("bpr", 0.0),
        ("edge_dropout", 0.0),
        ("feature_dim", 100000),
    )
}
VARIANTS = MAIN | DEVIATIONS
TRAINING: dict[str, Any] = {
    "epochs": 400,
    # A plateau precedes the products. With 10, one run in two stopped on it; with 30, some runs at
    # the smallest strength.
    "patience": 100,
    "validate_every": 2,
    "batch_size": 1024,
    "learning_rate": 0.01,
    "device": "cpu",
}


def trained(data: Data, name: str, seed: int) -> dict[str, Any]:
    """Train one variant: the best epoch, and by split which held-out items are in the first K."""
    started = time.perf_counter()
    model_name, values = VARIANTS[name]
    model = build(configure(model_name, **values), data.training, seed)
    select = selector(f"recall@{K}", data.held_out[SPLIT_NAMES[VALIDATION]], data.train)
    history = fit(model, data.train, select, TrainConfig(seed=seed, **TRAINING))
    with torch.no_grad():
        fused = model.branches()[FUSED]
    hits = {}
    for split, held_out in data.held_out.items():
        ranked = top_k(fused, held_out.users, K, data.train)[0]
        found = (ranked == held_out.items.unsqueeze(1)).any(dim=1)
        hits[split] = "".join(str(int(hit)) for hit in found.tolist())
    types = {f"{split}_types": values.tolist() for split, values in data.types.items()}
    seconds = round(time.perf_counter() - started, 1)
    return {"epoch": history.best_epoch, "seconds": seconds, **hits, **types}


def todo() -> Iterator[Key]:
    """Every run, the most important ones first."""
    for seed in SEEDS:
        yield from ((STRENGTHS[0], seed, name) for name in FIRST)
    for seed in SEEDS:
        for strength in STRENGTHS[1:]:
            yield from ((strength, seed, name) for name in AT_EVERY_STRENGTH)
    for seed in SEEDS:
        yield from ((STRENGTHS[0], seed, name) for name in VARIANTS if name not in FIRST)


def train(given: argparse.Namespace) -> None:
    """Train the runs of a share that are not in the file yet."""
    torch.set_num_threads(1)
    part, parts = map(int, given.share.split("/"))
    for strength, seed, name in todo():
        if seed % parts != part or (strength, seed, name) in runs(given.file):
            continue
        sizes = (given.users, given.items)
        if given.dumps is None:
            data = of_attributes(strength, *sizes, seed, name == SHOWN)
        else:
            data = of_models(given.dumps, strength, *sizes, tuple(given.set))
        line = {"strength": strength, "seed": seed, "variant": name, **trained(data, name, seed)}
        with given.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{strength:g} {name}, seed {seed}: {line['seconds']} s", flush=True)


def runs(file: Path) -> dict[Key, dict[str, Any]]:
    """The finished runs."""
    if not file.exists():
        return {}
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {(line["strength"], line["seed"], line["variant"]): line for line in lines}


def table(file: Path, split: str, reference: str) -> None:
    """Print a table per strength: Recall@K by type, mean and standard deviation of the seeds."""
    finished = runs(file)
    for strength in sorted(STRENGTHS):
        print(f"\nStrength {strength:g} of the synergy:\n")
        print(f"| variant | seeds | all | {' | '.join(TYPES)} | synergy, minus {reference} |")
        print("|---|" + "---|" * (len(TYPES) + 3))
        for name in VARIANTS:
            seeds = [seed for seed in SEEDS if (strength, seed, name) in finished]
            lines = {seed: finished[strength, seed, name] for seed in seeds}
            base = {s: finished.get((strength, s, reference)) for s in seeds}
            if seeds:
                cells = [*means(lines.values(), split), difference(lines, base, split)]
                print(f"| {name} | {len(seeds)} | {' | '.join(cells)} |")


def of(line: dict[str, Any], split: str) -> tuple[Floats, Ints]:
    """(N,) hits, 0 or 1, and (N,) types of one run."""
    return np.array([float(hit) for hit in line[split]]), np.array(line[f"{split}_types"])


def means(lines: Iterable[dict[str, Any]], split: str) -> Iterator[str]:
    """Recall of all positives and by type: mean and standard deviation over the seeds."""
    pairs = [of(line, split) for line in lines]
    for chosen in (None, *range(len(TYPES))):
        values = [
            hits[types == chosen if chosen is not None else types >= 0].mean()
            for hits, types in pairs
        ]
        deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
        yield f"{np.mean(values):.3f} ± {deviation:.3f}"


def difference(
    lines: dict[int, dict[str, Any]], base: dict[int, dict[str, Any] | None], split: str
) -> str:
    """Recall of synergistic positives minus that of the reference, with a paired 95 % interval.

    The bootstrap draws from the synergistic positives of all seeds that both have.
    """
    parts = []
    for seed, line in lines.items():
        other = base[seed]
        if other is not None:
            hits, types = of(line, split)
            parts.append((hits - of(other, split)[0])[types == TYPES.index(SYNERGY)])
    if not parts:
        return ""
    values = np.concatenate(parts)
    low, high = interval(values)
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("train", "table"))
    parser.add_argument("file", type=Path, help="one line per run")
    parser.add_argument("--share", default="0/1", help="PART/PARTS: which of the seeds to train")
    parser.add_argument("--users", type=int, default=1500)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--dumps", type=Path, help="folder of sample dumps and their artifacts")
    parser.add_argument("--set", action="append", default=[], help="a setting of the stages")
    parser.add_argument(
        "--split", default=SPLIT_NAMES[TEST], help="whose positives the table shows"
    )
    parser.add_argument(
        "--reference", default="concat", choices=VARIANTS, help="whom the last column compares with"
    )
    given = parser.parse_args()
    if given.action == "train":
        train(given)
    else:
        table(given.file, given.split, given.reference)


if __name__ == "__main__":
    main()
