"""BR-MRS with and without each loss on the sample, by the diagnosis.

    python bench/losses.py train FOLDER      # trains what FOLDER lacks; stop it at any time
    python bench/losses.py table FOLDER      # the table of docs/diagnosis.md

FOLDER gets a sample dump and an artifact store. Text and pictures are embedded once. Every value is
of test pairs, mean over the seeds. Intervals are of the paired difference to `all losses`: 95 %,
bootstrap over the users, whose differences are averaged over the seeds first.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.columns import PARTS, TYPE, USER
from brmrs.config.load import load
from brmrs.diagnosis.schemas import DIAGNOSIS_FILE, PAIRS_FILE, SET
from brmrs.evaluation.paired import interval
from brmrs.sample.write import write_sample
from brmrs.stages import needed
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record

FUSIONS = ("concat", "joint")
LOSSES = {
    "all losses": (),
    "no CHNS": ("model.chns=0",),
    "no synergy loss": ("model.synergy=0",),
    "fused BPR alone": ("model.chns=0", "model.synergy=0"),
}
SEEDS = range(3)
REFERENCE = "all losses"


def todo() -> Iterator[tuple[int, str, str]]:
    """Seed, fusion and losses, the most important first."""
    for fusion in FUSIONS:
        for seed in SEEDS:
            yield from ((seed, fusion, name) for name in LOSSES)


def train(folder: Path) -> None:
    """Train and diagnose; finished stages are taken from the store."""
    write_sample(folder / "dump")
    store = ArtifactStore(folder / "artifacts")
    for seed, fusion, name in todo():
        if (seed, fusion, name) in finished(folder):
            continue
        started = time.perf_counter()
        settings = (f"train.seed={seed}", f"model.fusion={fusion}", *LOSSES[name])
        config = load(folder / "dump" / "config.yaml", settings)
        records: dict[str, Record] = {}
        prints = fingerprint(config)
        for stage in needed(config, "diagnosis"):
            upstream = {each: records[each].artifact for each in stage.upstream}
            records[stage.name] = execute(stage, config, prints, upstream, store, "losses")
        place = str(store.path(records["diagnosis"].artifact))
        line = {"seed": seed, "fusion": fusion, "losses": name, "folder": place}
        with (folder / "runs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        seconds = time.perf_counter() - started
        print(f"{fusion}, {name}, seed {seed}: {seconds:.0f} s", flush=True)


def finished(folder: Path) -> dict[tuple[int, str, str], Path]:
    """The folder of each finished diagnosis."""
    file = folder / "runs.jsonl"
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines()) if file.exists() else ()
    return {(x["seed"], x["fusion"], x["losses"]): Path(x["folder"]) for x in lines}


def table(folder: Path) -> None:
    """Print a table per fusion."""
    found = finished(folder)
    for fusion in FUSIONS:
        seeds = [s for s in SEEDS if all((s, fusion, name) in found for name in LOSSES)]
        if not seeds:
            continue
        print(f"\n`fusion: {fusion}`, {len(seeds)} seeds:\n")
        head = ["losses", "Recall@20", "difference", "synergy", "degeneration", "confusion"]
        print(f"| {' | '.join([*head, *PARTS])} |\n|{'---|' * (len(head) + len(PARTS))}")
        users = {
            name: np.mean([_recalls(found[s, fusion, name]) for s in seeds], axis=0)
            for name in LOSSES
        }
        for name in LOSSES:
            places = [found[s, fusion, name] for s in seeds]
            cells = [f"{users[name].mean():.4f}", _difference(users[name] - users[REFERENCE])]
            cells += [f"{np.mean(each):.3f}" for each in zip(*map(_rates, places), strict=True)]
            cells += [f"{np.mean([_of_type(p, part) for p in places]):.3f}" for part in PARTS]
            print(f"| {name} | {' | '.join(cells)} |")


def _recalls(place: Path) -> np.ndarray:
    """(B,) Recall@K of each user, by the pairs."""
    hits = _pairs(place).group_by(USER).agg(pl.col("hit").mean()).sort(USER)
    return hits["hit"].to_numpy()


def _difference(values: np.ndarray) -> str:
    if not values.any():
        return ""
    low, high = interval(values, 0.95)
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def _rates(place: Path) -> list[float]:
    values: dict[str, Any] = json.loads((place / DIAGNOSIS_FILE).read_text(encoding="utf-8"))
    confusion = values["confusion"]["by_score"]["above"]["value"]
    return [values["sets"]["synergy"]["value"], values["sets"]["degeneration"]["value"], confusion]


def _of_type(place: Path, kind: str) -> float:
    return float(_pairs(place).filter(pl.col(TYPE) == kind)["hit"].mean())


def _pairs(place: Path) -> pl.DataFrame:
    missed = ("degeneration", "none")
    pairs = pl.read_parquet(place / PAIRS_FILE)
    return pairs.with_columns(hit=(~pl.col(SET).is_in(missed)).cast(pl.Float64))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("train", "table"))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    (train if given.action == "train" else table)(given.folder)


if __name__ == "__main__":
    main()
