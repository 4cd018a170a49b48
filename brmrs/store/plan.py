"""What a run would do, and why: each stage's key against the records in the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import Stage
from brmrs.store import keys
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.records import Artifact, Record

LETTERS = 6  # of a digest, enough to tell two apart


@dataclass(frozen=True)
class Step:
    """What a run would do with one stage.

    Attributes:
        stage: its name.
        state: "cached", "runs", or "waits": it runs unless what it waits for yields the same bytes.
        reasons: why it does not stand; empty for a cached stage.
        artifact: the artifact of a cached stage.
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
    """One step per stage, in order. Reads records and checks artifacts; runs nothing."""
    steps: dict[str, Step] = {}
    for stage in stages:
        stale = [name for name in stage.upstream if steps[name].state != "cached"]
        if stale:
            steps[stage.name] = _behind(stage, config, stale, store)
            continue
        upstream = {name: _artifact(steps[name]) for name in stage.upstream}
        parts = keys.parts(stage, config, fingerprint, upstream)
        record = store.lookup(stage.name, keys.key(stage, parts))
        if record:
            steps[stage.name] = Step(stage.name, "cached", (), record.artifact)
        else:
            reasons = tuple(_differences(stage, parts, store))
            steps[stage.name] = Step(stage.name, "runs", reasons)
    return list(steps.values())


def _artifact(step: Step) -> Artifact:
    assert step.artifact is not None
    return step.artifact


def _behind(stage: Stage, config: PipelineConfig, stale: list[str], store: ArtifactStore) -> Step:
    """A stage behind stale ones: its own changes decide whether it surely runs."""
    known = keys.fixed_parts(stage, config)
    nearest = _nearest(known, store.records(stage.name))
    if nearest is None:
        return Step(stage.name, "runs", ("never ran",))
    changes = _changes(nearest.parts, known)
    waits = (f"waits for {', '.join(stale)}",)
    return Step(stage.name, "runs" if changes else "waits", (*changes, *waits))


def _differences(stage: Stage, parts: keys.Parts, store: ArtifactStore) -> list[str]:
    """Why no record with exactly these parts verifies."""
    nearest = _nearest(parts, store.records(stage.name))
    if nearest is None:
        return ["never ran"]
    changes = _changes(nearest.parts, parts)
    if changes:
        return changes
    if not nearest.artifact.complete:
        return ["tries again what failed for now"]
    there = store.path(nearest.artifact).is_dir()
    return ["artifact damaged" if there else "artifact missing"]


def _nearest(parts: keys.Parts, records: list[Record]) -> Record | None:
    """The record that differs in the fewest parts, the newest of them."""

    def distance(record: Record) -> int:
        return len(_changes(record.parts, parts))

    return min(reversed(records), key=distance, default=None)


def _changes(old: keys.Parts, new: keys.Parts) -> list[str]:
    """One line per part that differs; only kinds of parts that `new` has are compared."""
    lines: list[str] = []
    for kind, values in new.items():
        before = old.get(kind, {})
        lines += [
            _line(kind, name, before.get(name), values.get(name))
            for name in sorted({*before, *values})
            if before.get(name) != values.get(name)
        ]
    return lines


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
