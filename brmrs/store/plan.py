"""The stages that a run would run, and why. Compares each stage's key with the records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import Stage
from brmrs.store import keys
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.records import Artifact, Record
from brmrs.store.runs import all_runs
from brmrs.store.shared.artifacts import recorded

MODEL = "model.name"  # the field that decides which other fields and modules there are
LETTERS = 6  # of a digest, enough to distinguish two


@dataclass(frozen=True)
class Step:
    """The planned state of one stage.

    Attributes:
        stage: its name.
        state: "cached"; "shared": it is taken from the shared address; "runs"; or "waits": it runs
            only if an upstream stage's output changes.
        reasons: why it is not cached; empty for a cached or shared stage.
        artifact: the artifact of a cached or shared stage.
    """

    stage: str
    state: str
    reasons: tuple[str, ...]
    artifact: Artifact | None = None


def plan(
    stages: tuple[Stage, ...],
    config: PipelineConfig,
    fingerprint: Mapping[str, Mapping[str, Any]],
    store: ArtifactStore,
) -> list[Step]:
    """One step per stage, in order. Reads records and checks artifacts; runs nothing.

    The reasons compare with the last run of this data set that got to the stage; without one, with
    the record that differs least.

    Raises:
        UserError: a manifest or an artifact cannot be read.
    """
    steps: dict[str, Step] = {}
    last: dict[str, Record] = {}
    for run in all_runs(store):  # the newest first
        if run.config["name"] == config.name:
            last = {**run.stages, **last}
    for stage in stages:
        stale = [name for name in stage.upstream if steps[name].artifact is None]
        if stale:
            known = _Known(store.records(stage.name), last.get(stage.name))
            steps[stage.name] = _behind(stage, config, stale, known)
            continue
        upstream = {name: _artifact(steps[name]) for name in stage.upstream}
        parts = keys.parts(stage, config, fingerprint, upstream)
        key = keys.key(stage, parts)
        if record := store.lookup(stage.name, key):
            steps[stage.name] = Step(stage.name, "cached", (), record.artifact)
        elif record := recorded(config.store.shared, store, stage.name, key):
            steps[stage.name] = Step(stage.name, "shared", (), record.artifact)
        else:
            known = _Known(store.records(stage.name), last.get(stage.name))
            reasons = tuple(_differences(stage, parts, known, store))
            steps[stage.name] = Step(stage.name, "runs", reasons)
    return list(steps.values())


def _artifact(step: Step) -> Artifact:
    assert step.artifact is not None
    return step.artifact


@dataclass(frozen=True)
class _Known:
    """The records of a stage.

    Attributes:
        records: all its records, newest last.
        last: the one of the last run of this data set.
    """

    records: list[Record]
    last: Record | None

    def compared(self, parts: keys.Parts) -> Record | None:
        """The record to name differences from."""
        return self.last or _nearest(parts, self.records)


def _behind(stage: Stage, config: PipelineConfig, stale: list[str], found: _Known) -> Step:
    """A stage after stale ones. It certainly runs if its code or configuration changed."""
    known = keys.fixed_parts(stage, config)
    nearest = found.compared(known)
    if nearest is None:
        return Step(stage.name, "runs", ("never ran",))
    changes = _changes(nearest.parts, known)
    waits = (f"waits for {', '.join(stale)}",)
    return Step(stage.name, "runs" if changes else "waits", (*changes, *waits))


def _differences(stage: Stage, parts: keys.Parts, found: _Known, store: ArtifactStore) -> list[str]:
    """Why no record with exactly these parts verifies."""
    key = keys.key(stage, parts)
    same = [record for record in found.records if record.key == key]
    nearest = same[-1] if same else found.compared(parts)
    if nearest is None:
        return ["never ran"]
    if changes := _changes(nearest.parts, parts):
        return changes
    if not nearest.artifact.complete:
        return ["incomplete: it tries again what it could not get"]
    there = store.path(nearest.artifact).is_dir()
    return ["artifact damaged" if there else "artifact missing"]


def _nearest(parts: keys.Parts, records: list[Record]) -> Record | None:
    """The record that differs in the fewest parts, the newest of them."""

    def distance(record: Record) -> int:
        return len(_changes(record.parts, parts))

    return min(reversed(records), key=distance, default=None)


def _changes(old: keys.Parts, new: keys.Parts) -> list[str]:
    """One line per part that differs; only kinds of parts that `new` has are compared.

    Another model is one line: its settings, modules and libraries follow from its name.
    """
    another = old.get("configuration", {}).get(MODEL) != new.get("configuration", {}).get(MODEL)
    lines: list[str] = []
    for kind, values in new.items():
        before = old.get(kind, {})
        lines += [
            _line(kind, name, before.get(name), values.get(name))
            for name in sorted({*before, *values})
            if before.get(name) != values.get(name)
            and not (another and _is_of_a_model(kind, name, name in before and name in values))
        ]
    return lines


def _is_of_a_model(kind: str, name: str, in_both: bool) -> bool:
    """Whether a part may differ because the model does."""
    if kind == "configuration":
        return name.startswith("model.") and name != MODEL
    return kind in {"code", "libraries"} and not in_both


def _line(kind: str, name: str, old: object, new: object) -> str:
    if kind == "code":
        return f"code {name.replace('.', '/')}.py"
    if kind == "input":
        return f"input {name} changed ({_short(old)} -> {_short(new)})"
    return f"{kind} {name} {_show(old)} -> {_show(new)}"


def _short(digest: object) -> str:
    return str(digest)[:LETTERS] if digest else "none"


def _show(value: object) -> str:
    return "none" if value is None else str(value)
