"""The diagnosis of a finished run: `brmrs diagnose`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from brmrs.columns import MODALITIES, TEST
from brmrs.config.features import ReplaceConfig
from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.diagnosis import result, rows
from brmrs.diagnosis.result import Diagnosis
from brmrs.diagnosis.schemas import PAIRS, PAIRS_FILE, SET_SHARES, SETS_FILE, TYPES_FILE
from brmrs.diagnosis.transitions import transitions
from brmrs.errors import UserError
from brmrs.experiments.compare_runs import compare_runs
from brmrs.models import bundle
from brmrs.stages import needed, of_model
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record
from brmrs.store.runs import Run
from brmrs.store.tables import read_table

STAGE = "diagnosis"
REPLACEMENTS = ("permuted", "noise", "removed")
OWN = ("graphs", "train", "evaluate")  # stages of a variant; the others are the run's
RETRAINED = (
    "change: mean over the users of the metric with replaced features minus before. Below 0, the "
    "modality helps. The graphs get the replaced features, too. low, high: 95 % interval by a "
    "paired bootstrap over the users, for one seed of the training. p (Holm): Wilcoxon signed-rank "
    "test, corrected for all rows of both metrics"
)


@dataclass(frozen=True)
class Diagnosed:
    """A run with its diagnosis.

    Attributes:
        run: the run.
        folder: the artifact.
        values: its headline numbers.
    """

    run: Run
    folder: Path
    values: Diagnosis

    def pairs(self) -> pa.Table:
        """`pairs.parquet`.

        Raises:
            UserError: it is damaged, or the model has not all branches.
        """
        if self.values["cannot"]:
            raise UserError(f"run {self.run.name}: {self.values['cannot']}")
        return read_table(self.folder / PAIRS_FILE, PAIRS)

    def types(self) -> list[dict[str, Any]]:
        """The rows of `types.parquet`."""
        found: list[dict[str, Any]] = read_table(self.folder / TYPES_FILE, rows.TYPES).to_pylist()
        return found

    def sets(self) -> list[dict[str, Any]]:
        """The rows of `sets.parquet`; none without all branches."""
        if self.values["cannot"]:
            return []
        found: list[dict[str, Any]] = read_table(self.folder / SETS_FILE, SET_SHARES).to_pylist()
        return found


def diagnosed(run: Run, store: ArtifactStore) -> Diagnosed:
    """The diagnosis of a run; it is computed if the run has none, or if it was removed.

    Raises:
        UserError: the run did not get to the training, an artifact is missing, or a file of the
            diagnosis is damaged.
    """
    if STAGE in run.stages and store.verify(run.artifact(STAGE)):
        folder = store.path(run.artifact(STAGE))
        return Diagnosed(run, folder, result.read(folder))
    config = config_of(run)
    stage = next(each for each in of_model(config) if each.name == STAGE)
    runs.sound(run, store, *stage.upstream)
    upstream = {name: run.artifact(name) for name in stage.upstream}
    prints = {**run.fingerprint, **fingerprint(config, stage.external)}
    with store.running(f"the diagnosis of {run.name}"):
        record = execute(stage, config, prints, upstream, store, run.name)
    folder = store.path(record.artifact)
    return Diagnosed(run, folder, result.read(folder))


def moved(old: Diagnosed, new: Diagnosed) -> list[dict[str, Any]]:
    """The transition matrix of the sets (see `brmrs.diagnosis.transitions`).

    Raises:
        UserError: the two are of other pairs or another K.
    """
    if old.values["k"] != new.values["k"]:
        raise UserError(
            f"run {old.run.name} was diagnosed at K = {old.values['k']}, run {new.run.name} at "
            f"{new.values['k']}; run both with the same diagnosis.k"
        )
    return transitions(old.pairs(), new.pairs())


def config_of(run: Run) -> PipelineConfig:
    """The configuration of a run.

    Raises:
        UserError: it is of an older version, or a file that it names is missing.
    """
    return parse(run.config, f"the configuration of run {run.name}")


def retrained(run: Run, store: ArtifactStore) -> dict[str, Any]:
    """Train the run's model again with the features of one modality replaced; the drop of each.

    The run's model itself is trained again if its code changed since. Each training is a run of the
    store, cached like others.

    Raises:
        UserError: the model reads no features, or replaced ones already, or an artifact of the run
            is missing.
    """
    config = config_of(run)
    if config.features.replace != ReplaceConfig():
        raise UserError(
            f"{run.name} was trained with features.replace; choose a run without it: the drop is "
            "measured from that"
        )
    used = bundle.load(store.path(runs.sound(run, store, "train").artifact("train"))).about.features
    modalities = [name for name in MODALITIES if name in used and used[name].used]
    if not modalities:
        raise UserError(f"model {config.model.name} reads no features, so none can be replaced")
    with store.running(f"the retraining of {run.name}"):
        reference = _variant(config, run, store)
        variants = list(_variants(config, modalities))
        made = [_variant(each, run, store) for _, _, each in variants]
    compared = compare_runs([reference, *made], store, TEST)
    return {
        "reference": compared["rows"][0],
        "metrics": compared["metrics"],
        "users": compared["users"],
        "definition": RETRAINED,
        "rows": [
            {"modality": modality, "replaced": how, **row}
            for (modality, how, _), row in zip(variants, compared["rows"][1:], strict=True)
        ],
    }


def _variants(
    config: PipelineConfig, modalities: list[str]
) -> Iterator[tuple[str, str, PipelineConfig]]:
    for modality in modalities:
        for how in REPLACEMENTS:
            values = config.model_dump(mode="json")
            values["features"]["replace"] |= {modality: how}
            yield modality, how, parse(values, f"features.replace.{modality}={how}")


def _variant(config: PipelineConfig, base: Run, store: ArtifactStore) -> Run:
    """Run the stages `OWN` of a configuration; the other stages are those of the run."""
    name = runs.new_name(store)
    records: dict[str, Record] = {}
    for stage in needed(config, "evaluate"):
        if stage.name not in OWN:
            records[stage.name] = runs.sound(base, store, stage.name).stages[stage.name]
            continue
        upstream = {each: records[each].artifact for each in stage.upstream}
        records[stage.name] = execute(stage, config, base.fingerprint, upstream, store, name)
    seconds = sum(record.seconds for record in records.values() if record.run == name)
    values = config.model_dump(mode="json")
    taken, kind = round(seconds, 3), runs.DIAGNOSIS
    made = Run(name, values, base.fingerprint, records, taken, runs.this_machine(), kind)
    runs.save(made, store)
    return made
