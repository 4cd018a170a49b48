"""BR-MRS with and without each loss, by the diagnosis, on planted preferences.

    python bench/losses.py train RUNS.jsonl      # adds to the file what it lacks
    python bench/losses.py table RUNS.jsonl      # the tables of docs/diagnosis.md

The data are the sample's world of 1,500 users and 500 items, all five parts of the taste equally
strong. The features are the planted attributes, so no picture has to be embedded. Each seed draws
the world, the split and the initial weights. Values are of the test pairs of all seeds, one per
user. Differences are paired with `all losses`, with the 95 % bootstrap interval over the users of
all seeds; bold where p is below .05, corrected by Holm for all cells of a fusion. Confusion is the
mean over the pairs of the share of the negatives above that exactly one modality confuses, by
score; pairs without a negative above are left out.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
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
from brmrs.diagnosis.rows import pairs
from brmrs.diagnosis.scan import by_part
from brmrs.diagnosis.schemas import ABOVE_COUNT, CONFUSED_BY_SCORE, SET, SETS
from brmrs.evaluation.comparison import UNDECIDED, Comparison, compare
from brmrs.models.registry import build
from brmrs.training.selection import selector
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
SEEDS = range(10)
PARTS = TYPES[:-1]
RATES = (f"Recall@{K}", "synergy set", "degeneration", "confusion")
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
    rows = list(pairs(measured))
    return {
        "epoch": history.best_epoch,
        "seconds": round(time.perf_counter() - started, 1),
        "hits": "".join(str(int(hit)) for hit in measured.hits["fused"]),
        "types": data.types[SPLIT_NAMES[TEST]].tolist(),
        "sets": [SETS.index(row[SET]) for row in rows],
        "above": [row[ABOVE_COUNT] for row in rows],
        "confused": [row[CONFUSED_BY_SCORE] for row in rows],
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
    """Print two tables per fusion, of the seeds that have all losses."""
    found = finished(file)
    for fusion in FUSIONS:
        seeds = [s for s in SEEDS if all((fusion, s, name) in found for name in LOSSES)]
        if not seeds:
            continue
        values = {name: _values([found[fusion, s, name] for s in seeds]) for name in LOSSES}
        print(f"\n`fusion: {fusion}`, {len(seeds)} seeds:")
        against = _against(values)
        for columns in (RATES, PARTS):
            print(f"\n| losses | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
            for name in LOSSES:
                cells = [_cell(values[name][each], against.get((name, each))) for each in columns]
                print(f"| {name} | {' | '.join(cells)} |")


def _values(lines: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """By column, (N,) values of the users of all seeds, each with one test item; NaN if none."""
    hits = np.array([float(hit) for line in lines for hit in line["hits"]])
    kinds, sets, above, confused = (
        np.concatenate([line[name] for line in lines])
        for name in ("types", "sets", "above", "confused")
    )
    rates = (
        hits,
        (sets == SETS.index("synergy")).astype(float),
        (sets == SETS.index("degeneration")).astype(float),
        confused / np.where(above > 0, above, np.nan),
    )
    by_type = {part: np.where(kinds == n, hits, np.nan) for n, part in enumerate(PARTS)}
    return {**dict(zip(RATES, rates, strict=True)), **by_type}


def _against(values: Mapping[str, Mapping[str, np.ndarray]]) -> dict[tuple[str, str], Comparison]:
    """By losses and column, the comparison with the reference over the users that both have."""
    differences = {
        (name, column): own - values[REFERENCE][column]
        for name, columns in values.items()
        if name != REFERENCE
        for column, own in columns.items()
    }
    return compare({key: each[~np.isnan(each)] for key, each in differences.items()})


def _cell(own: np.ndarray, found: Comparison | None) -> str:
    """The mean, and the difference from the reference; bold where the corrected test decides."""
    text = f"{np.nanmean(own):.3f}"
    if found is None:
        return text
    text += f", {found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return text if found.verdict == UNDECIDED else f"**{text}**"


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
