"""Manifests of runs: what ran, what was cached, and where everything lies."""

import contextlib
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from brmrs.errors import UserError
from brmrs.stages import STAGES
from brmrs.store.artifacts import Artifact, ArtifactStore, Record
from brmrs.system import machine
from brmrs.system.files import write_json

MOMENT = "%Y%m%d-%H%M%S-%f"  # in the names of runs, of which the last three digits are left out


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        name: sorts by time of start.
        config: the configuration it ran, as JSON values: that of an older version stays readable.
        fingerprint: digests of the bytes from outside that it started from.
        stages: the record of each stage, in order.
        seconds: wall time of the whole.
        machine: what it ran on, and the most memory its process held.
    """

    name: str
    config: dict[str, Any]
    fingerprint: dict[str, Any]
    stages: dict[str, Record]
    seconds: float
    machine: dict[str, Any]

    def artifact(self, stage: str) -> Artifact:
        """The artifact of a stage.

        Raises:
            UserError: the run stopped before that stage.
        """
        if stage not in self.stages:
            raise UserError(f"run {self.name} did not get to {stage}; run the pipeline to its end")
        return self.stages[stage].artifact

    def summary(self, store: ArtifactStore) -> dict[str, Any]:
        """The run as `--json` gives it: stages and, if evaluated, metrics."""
        return {
            "run": self.name,
            "name": self.config["name"],
            "note": self.config["note"],
            "model": self.config["model"]["name"],
            "seed": self.config["train"]["seed"],
            "seconds": self.seconds,
            "stages": [self._stage(record, store) for record in self.stages.values()],
            "metrics": self.metrics(store),
            "coverage": self._evaluated(store).get("coverage", {}),
        }

    def metrics(self, store: ArtifactStore) -> dict[str, Any]:
        """Validation and test metrics of the fused branch; empty if not evaluated or collected."""
        values = self._evaluated(store)
        return {split: values[split] for split in ("validation", "test") if values}

    def _evaluated(self, store: ArtifactStore) -> dict[str, Any]:
        """What the stage `evaluate` found; empty if it did not run or was collected as garbage."""
        if "evaluate" not in self.stages:
            return {}
        path = store.path(self.artifact("evaluate")) / "metrics.json"
        values: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
        return values

    def _stage(self, record: Record, store: ArtifactStore) -> dict[str, Any]:
        ran = record.run == self.name
        return {
            "name": record.artifact.stage,
            "state": "ran" if ran else "cached",
            "seconds": record.seconds if ran else 0.0,
            "peak_memory_bytes": record.peak_memory_bytes if ran else 0,
            "digest": record.artifact.digest,
            "path": str(store.path(record.artifact)),
            "bytes": record.artifact.bytes,
            **({"rows": record.notes["rows"]} if ran and "rows" in record.notes else {}),
        }


def new_name(store: ArtifactStore) -> str:
    """A name for a run: time of start (UTC) and a random tail. It sorts behind all others.

    Where the clock was set back, it is the time of the newest run and a little more.
    """
    now = datetime.now(UTC)
    newest = max((path.stem for path in _folder(store).glob("*.json")), default="")
    with contextlib.suppress(ValueError):  # a name that somebody else gave
        last = datetime.strptime(newest[: len(_moment(now))], MOMENT).replace(tzinfo=UTC)
        now = max(now, last + timedelta(milliseconds=1))
    return f"{_moment(now)}-{uuid.uuid4().hex[:4]}"


def _moment(time: datetime) -> str:
    """To the millisecond."""
    return time.strftime(MOMENT)[:-3]


def save(run: Run, store: ArtifactStore) -> None:
    """Write the run's manifest."""
    manifest = {
        "name": run.name,
        "config": run.config,
        "fingerprint": run.fingerprint,
        "stages": {name: record.to_json() for name, record in run.stages.items()},
        "seconds": run.seconds,
        "machine": run.machine,
    }
    write_json(_folder(store) / f"{run.name}.json", manifest)


def this_machine() -> dict[str, Any]:
    """What a run ran on: this machine, and the most memory that this process held."""
    return {**machine.describe(), "peak_memory_bytes": machine.high_water()}


def all_runs(store: ArtifactStore) -> Iterator[Run]:
    """The runs under a store, newest first. Their artifacts may be gone."""
    for path in sorted(_folder(store).glob("*.json"), reverse=True):
        yield _read(path)


def find(store: ArtifactStore, name: str) -> Run:
    """The run of that name, or the only one whose name begins or ends so; "latest": the newest.

    Raises:
        UserError: there is none, or several.
    """
    paths = sorted(_folder(store).glob("*.json"))
    if name == "latest":
        found = paths[-1:]
    else:
        alike = [path for path in paths if path.stem.startswith(name) or path.stem.endswith(name)]
        found = [path for path in alike if path.stem == name] or alike
    if len(found) != 1:
        known = ", ".join(path.stem for path in found) or "none of that name"
        raise UserError(f"run {name}: {known}; `brmrs runs` lists them")
    return _read(found[0])


def latest(store: ArtifactStore, *stages: str) -> Run:
    """The newest run that got to these stages; their artifacts verify.

    Raises:
        UserError: there is none, or an artifact of it is missing or damaged: an older run's
            would be the answer to another question.
    """
    for run in all_runs(store):
        if all(stage in run.stages for stage in stages):
            return sound(run, store, *stages)
    raise UserError(f"no finished run under {store.root}; run `brmrs run -c configs/sample.yaml`")


def sound(run: Run, store: ArtifactStore, *stages: str) -> Run:
    """The run itself, once the artifacts of these stages verify.

    Raises:
        UserError: it did not get to one of them, or an artifact is missing or damaged.
    """
    for stage in stages:
        if not store.verify(run.artifact(stage)):
            raise UserError(
                f"{stage} of run {run.name} is missing or damaged; run the pipeline again"
            )
    return run


def _in_order(stages: Iterable[str]) -> list[str]:
    """As declared, which is how they run: in the manifest they are sorted by name."""
    declared = {stage.name: place for place, stage in enumerate(STAGES)}
    return sorted(stages, key=lambda name: declared.get(name, len(declared)))


def _folder(store: ArtifactStore) -> Path:
    return store.root / "runs"


def _read(path: Path) -> Run:
    try:
        values = json.loads(path.read_bytes())
        return Run(
            values["name"],
            values["config"],
            values["fingerprint"],
            {
                name: Record.from_json(values["stages"][name])
                for name in _in_order(values["stages"])
            },
            values["seconds"],
            values["machine"],
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: no manifest of a run ({error}); remove it") from error
