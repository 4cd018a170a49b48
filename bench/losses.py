"""BR-MRS with and without each loss, by the diagnosis, on planted preferences.

    python bench/losses.py train RUNS.jsonl      # adds to the file what it lacks
    python bench/losses.py table RUNS.jsonl      # the tables of docs/diagnosis.md

The data are the sample's world of 1,500 users and 500 items, all five parts of the taste equally
strong. The features are the planted attributes, so no picture has to be embedded. Each seed draws
the world, the split and the initial weights. Values are of test pairs, mean over the seeds;
differences are paired with `all losses`, with the 95 % bootstrap interval over the users of all
seeds.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from planted_data import OTHERS, TYPES, of_attributes

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.columns import SPLIT_NAMES, TEST, VALIDATION
from brmrs.config.learning import DiagnosisConfig, TrainConfig
from brmrs.config.models import configure
from brmrs.diagnosis.groups import groups
from brmrs.diagnosis.measured import Measured
from brmrs.diagnosis.scan import by_part
from brmrs.diagnosis.summary import summary
from brmrs.evaluation.paired import interval
from brmrs.models.registry import build
from brmrs.training.stage import selector
from brmrs.training.trainer import fit

K = 20
FUSIONS = ("concat", "joint")
LOSSES: dict[str, dict[str, float]] = {
    "all losses": {},
    "no CHNS": {"chns": 0.0},
    "no synergy loss": {"synergy": 0.0},
    "fused BPR alone": {"chns": 0.0, "synergy": 0.0},
}
REFERENCE = "all losses"
SEEDS = range(3)
PARTS = TYPES[:-1]
RATES = ("synergy", "degeneration", "confusion")
TRAINING: dict[str, Any] = {
    "epochs": 100,
    "patience": 20,
    "validate_every": 2,
    "batch_size": 1024,
    "learning_rate": 0.01,
    "device": "cpu",
}

Key = tuple[str, int, str]  # fusion, seed, losses


def trained(fusion: str, seed: int, losses: str) -> dict[str, Any]:
    """Train one model; its hits and rates."""
    started = time.perf_counter()
    data = of_attributes(OTHERS, 1500, 500, seed, False)
    settings = {"dim": 32, "fusion": fusion, **LOSSES[losses]}
    model = build(configure("br-mrs", **settings), data.training, seed)
    held_out = {part: data.held_out[SPLIT_NAMES[part]] for part in (VALIDATION, TEST)}
    select = selector(f"recall@{K}", held_out[VALIDATION], data.train)
    history = fit(model, data.train, select, TrainConfig(seed=seed, **TRAINING))
    with torch.no_grad():
        branches = model.branches()
    scans = by_part(branches, held_out, data.train, "random", k=K, negatives=8, seed=seed)
    kinds = np.array(TYPES, dtype=object)[data.types[SPLIT_NAMES[TEST]]]
    measured = Measured(
        scans[VALIDATION],
        scans[TEST],
        held_out,
        data.train,
        DiagnosisConfig(k=K),
        2,
        True,
        groups(len(kinds), [], kinds),
        kinds,
        None,
    )
    found = summary(measured)
    rates = {name: found["sets"][name]["value"] for name in ("synergy", "degeneration")}
    rates["confusion"] = found["confusion"]["by_score"]["above"]["value"]
    return {
        "epoch": history.best_epoch,
        "seconds": round(time.perf_counter() - started, 1),
        "hits": "".join(str(int(hit)) for hit in measured.hits["fused"]),
        "types": data.types[SPLIT_NAMES[TEST]].tolist(),
        "rates": rates,
    }


def todo() -> Iterator[Key]:
    """Every run, the most important ones first."""
    for fusion in FUSIONS:
        for seed in SEEDS:
            yield from ((fusion, seed, name) for name in LOSSES)


def train(file: Path) -> None:
    """Train what the file lacks."""
    for fusion, seed, name in todo():
        if (fusion, seed, name) in finished(file):
            continue
        line = {"fusion": fusion, "seed": seed, "losses": name, **trained(fusion, seed, name)}
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        print(f"{fusion}, {name}, seed {seed}: {line['seconds']} s", flush=True)


def finished(file: Path) -> dict[Key, dict[str, Any]]:
    """The finished runs."""
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines()) if file.exists() else ()
    return {(line["fusion"], line["seed"], line["losses"]): line for line in lines}


def table(file: Path) -> None:
    """Print a table per fusion, of the seeds that have all losses."""
    found = finished(file)
    for fusion in FUSIONS:
        seeds = [s for s in SEEDS if all((fusion, s, name) in found for name in LOSSES)]
        if not seeds:
            continue
        print(f"\n`fusion: {fusion}`, {len(seeds)} seeds:\n")
        head = ["losses", f"Recall@{K}", "difference", *RATES, *PARTS]
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        hits = {name: _hits([found[fusion, s, name] for s in seeds]) for name in LOSSES}
        kinds = np.concatenate([found[fusion, s, REFERENCE]["types"] for s in seeds])
        for name in LOSSES:
            lines = [found[fusion, s, name] for s in seeds]
            cells = [f"{hits[name].mean():.4f}", _difference(hits[name] - hits[REFERENCE])]
            cells += [f"{np.mean([line['rates'][rate] for line in lines]):.3f}" for rate in RATES]
            cells += [f"{hits[name][kinds == kind].mean():.3f}" for kind in range(len(PARTS))]
            print(f"| {name} | {' | '.join(cells)} |")


def _hits(lines: list[dict[str, Any]]) -> np.ndarray:
    """(N,) hits of the users of all seeds, each with one test item."""
    return np.array([float(hit) for line in lines for hit in line["hits"]])


def _difference(values: np.ndarray) -> str:
    if not values.any():
        return ""
    low, high = interval(values, 0.95)
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("train", "table"))
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    (train if given.action == "train" else table)(given.file)


if __name__ == "__main__":
    main()
