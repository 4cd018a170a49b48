"""Several recommenders and seeds over one data set: their configurations, and the table.

A recommender's own settings stand in files beside the base configuration, both optional:
`models/<model>.yaml`, and over it `tuned/<data set>/<model>.yaml`, which `brmrs tune` writes.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import wilcoxon

from brmrs import columns
from brmrs.artifacts import ArtifactStore
from brmrs.config import PipelineConfig
from brmrs.config_file import load, parse
from brmrs.errors import UserError
from brmrs.files import read_json
from brmrs.runs import Run

OWN_SECTIONS = {"model", "train"}  # what a recommender's file may set: the data are everyone's


@dataclass(frozen=True)
class Variant:
    """One recommender with one seed.

    Attributes:
        model: its name.
        seed: of training; the split is the same for all.
        config: the whole configuration.
        files: the recommender's own, laid over the base in this order.
    """

    model: str
    seed: int
    config: PipelineConfig
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a variant: a run that got to `evaluate`, or why there is none."""

    variant: Variant
    run: Run | None = None
    fault: str = ""


class IncompleteError(Exception):
    """Some variants failed; `table` holds the results of the others."""

    def __init__(self, table: dict[str, Any]):
        self.table = table
        failed = [f"{row['model']}: {why}" for row in table["rows"] for why in row["faults"]]
        super().__init__("; ".join(failed))


def variants(
    file: Path, overrides: Sequence[str], models: Sequence[str], seeds: Sequence[int]
) -> list[Variant]:
    """Every recommender with every seed, in the order given.

    Args:
        file: the base configuration.
        overrides: `a.b=value`, over all files.
        models: names of recommenders.
        seeds: of training.

    Raises:
        UserError: an unknown recommender, a bad seed or a bad file.
    """
    made = []
    for model in dict.fromkeys(models):
        config, files = configured(file, overrides, model)
        for seed in dict.fromkeys(seeds):
            seeded = parse({"train": {"seed": seed}}, "seeds").train
            made.append(Variant(model, seed, config.overlaid({"train": seeded}), files))
    if not made:
        raise UserError("nothing to compare; name at least one model and one seed")
    return made


def configured(
    file: Path,
    overrides: Sequence[str],
    model: str,
    later: Sequence[Path] = (),
    *,
    tuned: bool = True,
) -> tuple[PipelineConfig, tuple[Path, ...]]:
    """A recommender's configuration, and its own files, which are laid over the base.

    Args:
        file: the base configuration.
        overrides: as for `variants`.
        model: the recommender's name.
        later: more files, which win over the recommender's own.
        tuned: whether what `brmrs tune` found counts.

    Raises:
        UserError: an unknown recommender, a bad file, or one or an override that sets another.
    """
    of_model = [each for each in overrides if each.partition("=")[0].partition(".")[0] == "model"]
    if of_model:
        where = file.parent / "models" / f"{model}.yaml"
        raise UserError(f"--set {of_model[0]}: set what concerns one model in {where}")
    parse({"model": {"name": model}}, "models")
    own = [file.parent / "models" / f"{model}.yaml"]
    if tuned:
        named = load(file, tuple(overrides), tuple(later), model=model)
        own.append(tuned_file(file, named.name, model))
    files = tuple(path for path in own if path.is_file())
    for path in files:
        given = load(path)
        if given.model_fields_set - OWN_SECTIONS or given.model.name != model:
            raise UserError(f"{path}: may set the sections model (of {model}) and train alone")
    config = load(file, tuple(overrides), (*files, *later), model=model)
    if config.model.name != model:
        told = ", ".join(map(str, later))
        raise UserError(f"{told}: sets model {config.model.name}, not {model}; leave it out")
    return config, files


def tuned_file(file: Path, data: str, model: str) -> Path:
    """Where the winning configuration of a recommender on a data set stands."""
    return file.parent / "tuned" / data / f"{model}.yaml"


def table(outcomes: Sequence[Outcome], store: ArtifactStore) -> dict[str, Any]:
    """What the variants came to: one row per recommender, compared with the first one."""
    by_model: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_model.setdefault(outcome.variant.model, []).append(outcome)
    config = outcomes[0].variant.config
    headline = columns.metric("recall", max(config.evaluate.k))
    scores = {
        model: per_user(runs, headline, store)
        for model, several in by_model.items()
        if (runs := [outcome.run for outcome in several if outcome.run])
    }
    reference = next(iter(by_model))
    rows = []
    for model, several in by_model.items():
        row = _row(model, several, store)
        if model != reference and model in scores and reference in scores:
            row["against_reference"] = paired(scores[model], scores[reference])
        rows.append(row)
    return {
        "name": config.name,
        "note": config.note,
        "headline": headline,
        "reference": reference,
        "users": len(next(iter(scores.values()), ())),
        "rows": rows,
    }


def _row(model: str, outcomes: list[Outcome], store: ArtifactStore) -> dict[str, Any]:
    runs = [outcome.run for outcome in outcomes if outcome.run]
    metrics = [run.metrics(store) for run in runs]
    bundles = [read_json(store.path(run.artifact("train")) / "bundle.json") for run in runs]
    seconds = [run.stages["train"].notes.get("seconds_per_epoch") for run in runs]
    row: dict[str, Any] = {
        "model": model,
        "files": [path.as_posix() for path in outcomes[0].variant.files],
        "seeds": [outcome.variant.seed for outcome in outcomes if outcome.run],
        "runs": [run.name for run in runs],
        "best_epochs": [bundle["best_epoch"] for bundle in bundles],
        "seconds_per_epoch": mean_and_deviation([each for each in seconds if each is not None]),
        "faults": [f"seed {each.variant.seed}: {each.fault}" for each in outcomes if each.fault],
    }
    for split in ("validation", "test"):
        values = [each[split] for each in metrics]
        row[split] = {
            name: mean_and_deviation([each[name] for each in values])
            for name in (values[0] if values else {})
        }
    return row


def mean_and_deviation(values: Sequence[float]) -> dict[str, float | None] | None:
    """Mean and sample standard deviation; none of one value, nothing of no values."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation}


def per_user(runs: Sequence[Run], metric: str, store: ArtifactStore) -> np.ndarray:
    """(B,) test metric of the fused branch by user, the mean over the runs' seeds."""
    wanted = [(columns.SPLIT, "=", columns.TEST), (columns.BRANCH, "=", columns.FUSED)]
    tables = [
        pq.read_table(
            store.path(run.artifact("evaluate")) / "per_user.parquet",
            columns=[metric],
            filters=wanted,
        )
        for run in runs
    ]
    mean: np.ndarray = np.mean([each[metric].to_numpy() for each in tables], axis=0)
    return mean


def paired(own: np.ndarray, other: np.ndarray) -> Mapping[str, float]:
    """The mean difference by user, and the p-value of Wilcoxon's signed-rank test.

    Args:
        own: (B,) a metric by user.
        other: (B,) the same users' under the reference.
    """
    difference = own - other
    # Sums of hits over |T_u| in another order: a tie must not count as a difference.
    difference[np.abs(difference) < 1e-12] = 0.0
    p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
    return {"difference": float(difference.mean()), "p": p}
