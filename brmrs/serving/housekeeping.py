"""Keeping the store sound and small: verify every byte, collect garbage."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brmrs.errors import UserError
from brmrs.serving import current
from brmrs.stages import STAGE_CACHE, STAGES
from brmrs.store.artifacts import DIGEST_LETTERS, Artifact, ArtifactStore, Record
from brmrs.store.runs import all_runs
from brmrs.system import progress

DAYS_OF_SCRATCH = 7.0  # after which nobody is expected to go on


@dataclass(frozen=True)
class Garbage:
    """What garbage collection removed.

    Attributes:
        paths: files and folders, relative to the store's root.
        bytes: their size.
    """

    paths: tuple[str, ...]
    bytes: int


def damaged(store: ArtifactStore) -> list[Artifact]:
    """Hash every artifact that a record leads to; the missing and damaged ones.

    They need no repair: the next run that wants one makes it anew.
    """
    artifacts = {
        (record.artifact.stage, record.artifact.digest): record.artifact
        for stage in STAGES
        for record in store.records(stage.name)
    }
    found = []
    with progress.task("verify", len(artifacts)) as task:
        for _, artifact in sorted(artifacts.items()):
            if not store.verify(artifact, full=True):
                found.append(artifact)
            task.advance()
    return found


def collect(store: ArtifactStore, keep: int) -> Garbage:
    """Remove what no kept run reaches, and what killed runs left behind.

    Kept are the newest `keep` runs of those in which a stage ran, whatever came after the oldest of
    them, the served run and the one that `rollback` returns to.

    Raises:
        UserError: a run is under way, or `keep` is not positive.
    """
    if keep < 1:
        raise UserError("gc: keep at least one run")
    if not store.root.is_dir():
        return Garbage((), 0)
    with store.alone(), store.lock(current.LOCK):
        pinned = current.read(store).served[-2:]  # what is served, and what `rollback` returns to
        runs, made = [], 0
        for run in all_runs(store):  # the newest first
            if made < keep or run.name in pinned:
                runs.append(run)
            made += any(record.run == run.name for record in run.stages.values())
        names = {run.name for run in runs}
        # All of them: under one key two runs may have had two artifacts, if these are incomplete.
        records = [record for run in runs for record in run.stages.values()]
        paths = sorted([*_unreached(store.root, names, records), *_unused(store, records)])
        size = sum(_remove(path) for path in paths)
    return Garbage(tuple(path.relative_to(store.root).as_posix() for path in paths), size)


def sweep(store: ArtifactStore) -> None:
    """Remove what killed runs left behind; `collect` removes more.

    A run does so first, when it holds the store: nobody else's files lie there then. Half-done work
    of the last days stays: the next run of its stage goes on from there.
    """
    oldest = time.time() - DAYS_OF_SCRATCH * 24 * 3600
    old = [path for path in store.root.glob("scratch/*/*") if _last_change(path) < oldest]
    for path in (*store.root.glob("tmp/*"), *old):
        _remove(path)


def _last_change(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


def _unreached(root: Path, runs: set[str], records: list[Record]) -> Iterator[Path]:
    artifacts = [record.artifact for record in records]
    objects = {(artifact.stage, artifact.digest[:DIGEST_LETTERS]) for artifact in artifacts}
    keys = {(record.artifact.stage, record.key) for record in records}
    yield from (path for path in root.glob("runs/*") if path.stem not in runs)
    for path in root.glob("objects/*/*"):
        if (path.parent.name, path.name.partition(".")[0]) not in objects:
            yield path
    for path in [*root.glob("records/*/*"), *root.glob("prefect/*/*")]:
        if (path.parent.name, path.stem) not in keys:
            yield path
    # No run is under way: whatever lies here is left over. A failed stage loses its half-done work.
    yield from root.glob("tmp/*")
    yield from root.glob("scratch/*/*")
    yield from root.glob("failures/*")
    yield from root.glob("locks/*/*")  # the others may be held now, by what is no run
    yield from root.glob(f".{current.FILE}.*")


def _unused(store: ArtifactStore, records: list[Record]) -> Iterator[Path]:
    """What stages kept and no reached record or artifact knows (see `StageContext.kept`)."""
    noted = {
        store.stage_cache(record.artifact.stage) / name
        for record in records
        for name in record.notes.get(STAGE_CACHE, ())
    }
    files = {name.rpartition("/")[2] for record in records for name in record.artifact.files}
    for path in store.root.glob("stage_cache/*/*/*"):
        if path not in noted and path.name.partition(".")[2] not in files:
            yield path


def _remove(path: Path) -> int:
    """Delete a file or folder; its size in bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(os.lstat(file).st_size for file in files)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return size
