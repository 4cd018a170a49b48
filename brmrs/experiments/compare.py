"""Several recommenders and seeds over one data set: their configurations, and the table.

The settings of a recommender come from two optional files in the folder of the base configuration:
`models/<name>.yaml`, then `tuned/<data set>/<name>.yaml`, which `brmrs tune` writes and which has
precedence. A name that is not a recommender is a variant: its file in `models` contains the
recommender's name and the different settings.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from brmrs import columns
from brmrs.config import conditions
from brmrs.config.load import load, parse
from brmrs.config.models import names
from brmrs.config.pipeline import PipelineConfig
from brmrs.config.shipped import find
from brmrs.errors import UserError
from brmrs.evaluation.comparison import Comparison, compare
from brmrs.experiments.search_spaces import range_of
from brmrs.extensions import missing
from brmrs.stages import SPLIT
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run
from brmrs.system.files import read_json

# The sections that a recommender's file may set: recommenders share the data.
OWN_SECTIONS = {"model", "train", "plugins"}
TUNED = "tuned"  # the folder of the files that `brmrs tune` writes


@dataclass(frozen=True)
class Variant:
    """One recommender with one seed.

    Attributes:
        model: its name, or that of a variant.
        seed: of training; the split is the same for all.
        config: the whole configuration.
        files: the recommender's files, which override the base in this order.
    """

    model: str
    seed: int
    config: PipelineConfig
    files: tuple[Path, ...]

    @property
    def tuned(self) -> bool:
        """Whether a file that `brmrs tune` wrote is used."""
        return any(path.parents[1].name == TUNED for path in self.files)


@dataclass(frozen=True)
class Outcome:
    """The result of a variant: a run up to `evaluate`, or the error."""

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
        models: names of recommenders or variants.
        seeds: of training.

    Raises:
        UserError: an unknown recommender, a bad seed or a bad file.
    """
    made = []
    for model in dict.fromkeys(models):
        config, files = configured(file, overrides, model)
        for seed in dict.fromkeys(seeds):
            valid = parse({"train": {"seed": seed}}, "seeds").train.seed
            train = config.train.model_copy(update={"seed": valid})
            made.append(Variant(model, seed, config.model_copy(update={"train": train}), files))
    if not made:
        raise UserError("nothing to compare; name at least one model and one seed")
    return made


def configured(
    file: Path,
    overrides: Sequence[str],
    name: str,
    later: Sequence[Path] = (),
    *,
    tuned: bool = True,
) -> tuple[PipelineConfig, tuple[Path, ...]]:
    """A recommender's configuration, and the files of it that override the base.

    Args:
        file: the base configuration.
        overrides: as for `variants`.
        name: the recommender's, or a variant's.
        later: more files, which override the recommender's files.
        tuned: whether to use the result of `brmrs tune`.

    Raises:
        UserError: an unknown name, a bad file, or settings that change the model.
    """
    own = find(file.parent / "models" / f"{name}.yaml")
    of_model = [each for each in overrides if each.partition("=")[0].partition(".")[0] == "model"]
    if of_model:
        raise UserError(
            f"--set {of_model[0]}: set fields of one model in its file: {own}, or for a "
            "variant beside it, under another name"
        )
    plugins = load(file, tuple(overrides)).plugins
    model = _recommender(own, name, plugins)
    paths = [own]
    if tuned:
        named = load(file, tuple(overrides), tuple(later), model=model)
        paths.append(find(tuned_file(file, named.name, name)))
    files = tuple(path for path in paths if path.is_file())
    for path in files:
        given = _of_model(path, plugins)
        if given.model_fields_set - OWN_SECTIONS or given.model.name != model:
            raise UserError(f"{path}: may set the sections model (of {model}) and train only")
    config = load(file, tuple(overrides), (*files, *later), model=model)
    if later:
        _same_model(config, load(file, tuple(overrides), files, model=model), name, later)
    return config, files


def _recommender(own: Path, name: str, plugins: Sequence[Path]) -> str:
    """The model that a name means.

    Args:
        own: the file of the variant with this name, if it exists.
        name: of a model or a variant.
        plugins: files that register models.

    Raises:
        UserError: it is neither a model nor a variant.
    """
    models = names(plugins)
    if name in models:
        return name
    if not own.is_file() or own.name != f"{name}.yaml":
        known = {*models, *(path.stem for path in own.parent.glob("*.yaml"))}
        problem = missing("model", name, known)
        raise UserError(f"models: {problem}; a variant would be {own}")
    given: str = _of_model(own, plugins).model.name
    return given


def _of_model(own: Path, plugins: Sequence[Path]) -> PipelineConfig:
    """The configuration in a model's own file, which may name a model of a plug-in."""
    return load(own, tuple(f"plugins={json.dumps(str(file))}" for file in plugins))


def _same_model(
    config: PipelineConfig, plain: PipelineConfig, name: str, later: Sequence[Path]
) -> None:
    """Refuse to tune, under a name, another model than `benchmark` trains under it.

    Raises:
        UserError: the later files set fields of the model that a search does not vary.
    """
    files = ", ".join(map(str, later))
    if config.model.name != plain.model.name:
        raise UserError(f"{files}: sets model {config.model.name}, not {name}; leave it out")
    chosen, expected = config.model.model_dump(), plain.model.model_dump()
    differs = [field for field in chosen if chosen[field] != expected[field]]
    if fixed := [field for field in differs if range_of(config.model, field) is None]:
        raise UserError(
            f"{files}: sets model.{fixed[0]}, and {name} would mean another model in a benchmark; "
            f"set it in a variant, models/NAME.yaml beside the first file, and tune NAME"
        )


def tuned_file(file: Path, data: str, name: str) -> Path:
    """The file of the winning configuration of a recommender or variant on a data set."""
    return file.parent / TUNED / data / f"{name}.yaml"


def table(outcomes: Sequence[Outcome], store: ArtifactStore) -> dict[str, Any]:
    """The results of the variants: one row per recommender, compared with the first one."""
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
    against = _against(reference, scores)
    rows = []
    for model, several in by_model.items():
        row = _row(model, several, store)
        if model in against:
            row["against_reference"] = against[model].plain()
        rows.append(row)
    return {
        "name": config.name,
        "note": config.note,
        "headline": headline,
        "reference": reference,
        "users": len(next(iter(scores.values()), ())),
        "conditions": _conditions(outcomes, store),
        "rows": rows,
    }


def _against(reference: str, scores: Mapping[str, np.ndarray]) -> dict[str, Comparison]:
    """Every other model's comparison with the reference; they are corrected together."""
    if reference not in scores or not len(scores[reference]):
        return {}
    own = scores[reference]
    return compare({model: each - own for model, each in scores.items() if model != reference})


def _conditions(outcomes: Sequence[Outcome], store: ArtifactStore) -> dict[str, str]:
    """The conditions that all rows share, as text; empty if every training failed."""
    runs = [outcome.run for outcome in outcomes if outcome.run]
    if not runs:
        return {}
    run, config = runs[0], outcomes[0].variant.config
    features: dict[str, Any] = {}
    for each in runs:  # the bundle of a model without features has none
        features |= _bundle(each, store)["features"]
    evaluated = read_json(store.path(run.artifact("evaluate")) / "metrics.json")
    times = pq.read_table(store.path(run.artifact("split"), SPLIT), columns=[columns.TIMESTAMP])
    return {
        "positives": conditions.positives(config.ingest),
        "split": conditions.split(
            config.split, dated=times[columns.TIMESTAMP].null_count < len(times)
        ),
        "ranking": evaluated["definitions"]["protocol"],
        "features": conditions.coverage(features),
    }


def _bundle(run: Run, store: ArtifactStore) -> dict[str, Any]:
    """The description of the model that a run trained."""
    about: dict[str, Any] = read_json(store.path(run.artifact("train")) / "bundle.json")
    return about


def _row(model: str, outcomes: list[Outcome], store: ArtifactStore) -> dict[str, Any]:
    runs = [outcome.run for outcome in outcomes if outcome.run]
    metrics = [run.metrics(store) for run in runs]
    bundles = [_bundle(run, store) for run in runs]
    seconds = [run.stages["train"].notes.get("seconds_per_epoch") for run in runs]
    row: dict[str, Any] = {
        "model": model,
        "recommender": outcomes[0].variant.config.model.name,
        "files": [path.as_posix() for path in outcomes[0].variant.files],
        "tuned": outcomes[0].variant.tuned,
        "learned_from": conditions.learned_from(bundles[0]["features"]) if bundles else "",
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


def mean_and_deviation(values: Sequence[float]) -> dict[str, Any] | None:
    """Mean, sample standard deviation (from two values on) and the values; empty without values."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "values": list(values)}


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
