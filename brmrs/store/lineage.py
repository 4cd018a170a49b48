"""Differences between two runs, and the origin of an artifact."""

from typing import Any

from brmrs.errors import UserError
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.keys import flatten
from brmrs.store.runs import Run, all_runs
from brmrs.system.files import digest_json

NOTHING = {digest_json([]), digest_json({})}  # digests of no input files, and of an absent folder


def difference(old: Run, new: Run, store: ArtifactStore) -> dict[str, dict[str, list[Any]]]:
    """Kind of difference to name to [old, new]: inputs, configuration, code, libraries, metrics."""
    return {
        "input": _changed(_inputs(old), _inputs(new)),
        "configuration": _changed(_configuration(old), _configuration(new)),
        "code": _changed(_parts(old, "code"), _parts(new, "code")),
        "libraries": _changed(_parts(old, "libraries"), _parts(new, "libraries")),
        "artifacts": _changed(_artifacts(old), _artifacts(new)),
        "metrics": _changed(_metrics(old, store), _metrics(new, store)),
    }


def origin(digest: str, store: ArtifactStore) -> list[dict[str, Any]]:
    """The stages and input files that an artifact was made from, in the newest run that has it.

    Args:
        digest: the artifact's, or its first letters.
        store: the artifact store.

    Returns:
        The artifact's stage first, then every stage it was made from, then the input files:
        `{"name", "digest", "reads"}`, or `{"name", "files"}`. Optional inputs that were absent are
        left out.

    Raises:
        UserError: no run holds such an artifact.
    """
    for run in all_runs(store):
        for name, record in reversed(run.stages.items()):
            if record.artifact.digest.startswith(digest):
                return _back(run, name)
    raise UserError(f"no run holds an artifact {digest}; `brmrs show RUN` lists a run's artifacts")


def _back(run: Run, name: str) -> list[dict[str, Any]]:
    steps: dict[str, dict[str, Any]] = {}
    todo = [name]
    while todo:
        current = todo.pop(0)
        if current in steps:
            continue
        if current not in run.stages:  # input files
            steps[current] = {
                "name": current,
                "files": run.fingerprint.get(current, {}).get("files", []),
            }
            continue
        record = run.stages[current]
        reads = sorted(
            read for read, digest in record.parts.get("input", {}).items() if digest not in NOTHING
        )
        steps[current] = {"name": current, "digest": record.artifact.digest, "reads": reads}
        todo += [read.partition("/")[0] for read in reads]
    return list(steps.values())


def _changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    names = sorted({*old, *new})
    return {
        name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)
    }


def _inputs(run: Run) -> dict[str, Any]:
    return {name: entry["sha256"] for name, entry in run.fingerprint.items()}


def _configuration(run: Run) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, section in run.config.items():
        flatten(name, section, values)
    return values


def _parts(run: Run, kind: str) -> dict[str, Any]:
    return {
        name: value
        for record in run.stages.values()
        for name, value in record.parts.get(kind, {}).items()
    }


def _artifacts(run: Run) -> dict[str, Any]:
    return {name: record.artifact.digest for name, record in run.stages.items()}


def _metrics(run: Run, store: ArtifactStore) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for split, section in run.metrics(store).items():
        flatten(split, section, values)
    return values
