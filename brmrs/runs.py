"""Manifests of runs: what ran, what was cached, and where everything lies."""

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brmrs.artifacts import Artifact, ArtifactStore, Record
from brmrs.config import PipelineConfig
from brmrs.errors import UserError
from brmrs.files import write_json


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        name: sorts by time of start.
        config: the configuration it ran.
        stages: the record of each stage, in order.
        seconds: wall time of the whole.
    """

    name: str
    config: PipelineConfig
    stages: dict[str, Record]
    seconds: float

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
            "name": self.config.name,
            "note": self.config.note,
            "seconds": self.seconds,
            "stages": [self._stage(record, store) for record in self.stages.values()],
            "metrics": self.metrics(store),
        }

    def metrics(self, store: ArtifactStore) -> dict[str, Any]:
        """Validation and test metrics of the fused branch; empty before evaluation."""
        if "evaluate" not in self.stages:
            return {}
        values = json.loads((store.path(self.artifact("evaluate")) / "metrics.json").read_bytes())
        return {split: values[split] for split in ("validation", "test")}

    def _stage(self, record: Record, store: ArtifactStore) -> dict[str, Any]:
        ran = record.run == self.name
        return {
            "name": record.artifact.stage,
            "state": "ran" if ran else "cached",
            "seconds": record.seconds if ran else 0.0,
            "digest": record.artifact.digest,
            "path": str(store.path(record.artifact)),
            "bytes": record.artifact.bytes,
        }


def new_name() -> str:
    """A name for a run: time of start (UTC) and a random tail."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:6]


def save(run: Run, store: ArtifactStore) -> None:
    """Write the run's manifest."""
    manifest = {
        "name": run.name,
        "config": run.config.model_dump(mode="json"),
        "stages": {name: record.key for name, record in run.stages.items()},
        "seconds": run.seconds,
    }
    write_json(store.root / "runs" / f"{run.name}.json", manifest)


def latest(store: ArtifactStore, stage: str) -> Run:
    """The newest run that got to a stage and whose artifacts of all stages can be had.

    Raises:
        UserError: there is none.
    """
    for path in sorted((store.root / "runs").glob("*.json"), reverse=True):
        run = _read(path, store)
        if run is not None and stage in run.stages:
            return run
    raise UserError(f"no finished run under {store.root}; run `brmrs run -c configs/sample.yaml`")


def _read(path: Path, store: ArtifactStore) -> Run | None:
    values = json.loads(path.read_bytes())
    stages: dict[str, Record] = {}
    for name, key in values["stages"].items():
        record = store.lookup(name, key)
        if record is None:
            return None
        stages[name] = record
    config = PipelineConfig.model_validate(values["config"])
    return Run(values["name"], config, stages, values["seconds"])
