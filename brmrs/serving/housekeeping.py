"""Keeping the store sound and small: verify every byte, collect garbage."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from brmrs.errors import UserError, first_line
from brmrs.serving import current
from brmrs.stages import STAGE_CACHE
from brmrs.store.artifacts import DIGEST_LETTERS, ArtifactStore
from brmrs.store.pages import page_runs
from brmrs.store.records import Artifact, Record
from brmrs.store.runs import REPORTS, all_runs
from brmrs.system import progress
from brmrs.system.files import walk

LOG = logging.getLogger(__name__)
DAYS_OF_SCRATCH = 7.0  # of partial work that no run continued
RESULTS = "prefect"  # folder of the store with the tasks' results


@dataclass(frozen=True)
class Garbage:
    """The files that garbage collection removed, or would remove.

    Attributes:
        paths: files and folders, relative to the store's root.
        bytes: their size.
        links: folders of the store that are links, relative to its root. Files behind them were not
            examined.
    """

    paths: tuple[str, ...]
    bytes: int
    links: tuple[str, ...] = ()


def damaged(store: ArtifactStore) -> list[Artifact]:
    """Hash every artifact that a record leads to; returns the missing and damaged ones.

    They need no repair: the next run that needs one rebuilds it.
    """
    artifacts = {
        (record.artifact.stage, record.artifact.digest): record.artifact
        for stage in store.stages()
        for record in store.records(stage)
    }
    found = []
    with progress.task("verify", len(artifacts)) as task:
        for _, artifact in sorted(artifacts.items()):
            if not store.verify(artifact, full=True):
                found.append(artifact)
            task.advance()
    return found


def collect(store: ArtifactStore, keep: int, *, dry_run: bool = False) -> Garbage:
    """Remove files that no kept run needs, and leftovers of killed runs.

    Three groups of runs are kept: the newest `keep` runs in which a stage ran; every run that is
    later than the oldest of these; the served run of each data set and the one that `rollback`
    returns to.

    Args:
        store: the artifact store.
        keep: how many runs.
        dry_run: remove nothing, and report what would be removed.

    Raises:
        UserError: a run is under way, `keep` is not positive, or a manifest is damaged.
    """
    if keep < 1:
        raise UserError("gc: keep at least one run")
    if not store.root.is_dir():
        return Garbage((), 0)
    with store.running("a clean-up", wait=False), store.lock(current.LOCK):
        pinned = current.read(store).pinned
        runs, made = [], 0
        for run in all_runs(store):  # the newest first
            if made < keep or run.name in pinned:
                runs.append(run)
            made += any(record.run == run.name for record in run.stages.values())
        names = {run.name for run in runs}
        # All records: incomplete artifacts of two runs may have the same key.
        records = [record for run in runs for record in run.stages.values()]
        paths = sorted([*_unreached(store, names, records), *_unused(store, records)])
        size = sum(_size(path) if dry_run else store.discard(path) for path in paths)
        if not dry_run:
            for lock in store.below("locks", 2):  # of runs, of which none is active; others stay
                store.discard(lock)
    relative = (path.relative_to(store.root).as_posix() for path in paths)
    links = (path.relative_to(store.root).as_posix() for path in store.links())
    return Garbage(tuple(relative), size, tuple(links))


def sweep(store: ArtifactStore) -> None:
    """Remove leftovers of killed runs; `collect` removes more.

    A run calls this while it holds the lock of the store, so no other process writes there. Partial
    work of the last `DAYS_OF_SCRATCH` days stays: the next run of its stage continues from it.
    """
    oldest = time.time() - DAYS_OF_SCRATCH * 24 * 3600
    for path in _half_written(store):
        with _or_warned(path):
            store.discard(path)
    for path in store.below("scratch", 2):
        with _or_warned(path):
            if _last_change(path) < oldest:
                store.discard(path)


@contextmanager
def _or_warned(path: Path) -> Iterator[None]:
    """Log a warning if a file cannot be removed, such as one of another user; continue."""
    try:
        yield
    except (OSError, UserError) as error:
        LOG.warning("%s cannot be removed: %s", path, first_line(error))


def _half_written(store: ArtifactStore) -> Iterator[Path]:
    yield from (path for path in store.below("objects", 2) if path.name.startswith("."))
    yield from store.below("tmp")  # of earlier versions


def _last_change(path: Path) -> float:
    inside = walk(path) if path.is_dir() and not path.is_symlink() else ()
    times = (entry.stat(follow_symlinks=False).st_mtime for entry in inside)
    return max(path.lstat().st_mtime, *times, 0.0)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    files = (entry for entry in walk(path) if not entry.is_dir(follow_symlinks=False))
    return sum(entry.stat(follow_symlinks=False).st_size for entry in files)


def _unreached(store: ArtifactStore, runs: set[str], records: list[Record]) -> Iterator[Path]:
    artifacts = [record.artifact for record in records]
    folders = {(artifact.stage, artifact.digest[:DIGEST_LETTERS]) for artifact in artifacts}
    keys = {(record.artifact.stage, record.key) for record in records}
    yield from (path for path in store.below("runs") if path.stem not in runs)
    # Pages of removed runs; other files in the folder are the user's.
    known = {path.stem for path in store.below("runs")}
    yield from (
        path for path in store.below(REPORTS) if not runs.issuperset(page_runs(path.name, known))
    )
    for path in store.below("objects", 2):
        if (path.parent.name, path.name.removesuffix(".stat")) not in folders:
            yield path
    for folder in ("records", RESULTS):
        for path in store.below(folder, 2):
            if (path.parent.name, path.stem) not in keys:
                yield path
    # No run is active, so all of this is left over. A failed stage loses its partial work.
    yield from store.below("tmp")
    yield from store.below("scratch", 2)
    yield from store.below("failures")
    yield from store.root.glob(f".{current.FILE}.*")


def _unused(store: ArtifactStore, records: list[Record]) -> Iterator[Path]:
    """Files of the stage caches that are not in use (see `StageContext.stage_cache`)."""
    noted = {
        store.stage_cache(record.artifact.stage) / name
        for record in records
        for name in record.notes.get(STAGE_CACHE, ())
    }
    files = {name.rpartition("/")[2] for record in records for name in record.artifact.files}
    for path in store.below("stage_cache", 3):
        if path not in noted and path.name.partition(".")[2] not in files:
            yield path
