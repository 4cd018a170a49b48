"""The content-addressed store: write atomically, verify before use, never serve damage.

Layout under the root:
    objects/<stage>/<digest>/       the files of an artifact
    objects/<stage>/<digest>.stat   size, times and inode of each file when it was last hashed
    records/<stage>/<key>.json      which artifact a cache key led to, and what the key was made of
    scratch/<stage>/<key>/          half-done work that outlives a kill
    stage_cache/<stage>/<folder>/   what a stage may use again under other keys
    tmp/                            artifacts being written
    locks/                          flock files, in folders those that only runs hold
    current.json                    which run is served, and how it came to be
    runs/                           manifests of runs
    failures/                       what stages that failed had to say
    prefect/                        the tasks' results, written anew from the records when read
"""

import contextlib
import fcntl
import json
import logging
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brmrs.errors import UserError
from brmrs.stages import INCOMPLETE
from brmrs.system.files import digest_file, digest_json, write_json

LOG = logging.getLogger(__name__)
DIGEST_LETTERS = 16  # of the hex digest in folder names; records hold the whole digest


class UnderWayError(UserError):
    """Somebody else works on the store."""


@dataclass(frozen=True)
class Artifact:
    """What a stage wrote.

    Attributes:
        stage: its name.
        digest: hex SHA-256 over the sorted (name, SHA-256) pairs of its files.
        files: SHA-256 of each file, by its path relative to the artifact's folder.
        bytes: total size.
    """

    stage: str
    digest: str
    files: dict[str, str]
    bytes: int

    @property
    def complete(self) -> bool:
        """Whether another run may take it (see `brmrs.stages.INCOMPLETE`)."""
        return INCOMPLETE not in self.files

    def digest_of(self, read: str) -> str:
        """Digest of a declared input (see `Stage.reads`): of one file, of a folder, or of all.

        Raises:
            KeyError: the artifact holds no such file.
        """
        _, slash, file = read.partition("/")
        if file.endswith("/"):
            below = {name: digest for name, digest in self.files.items() if name.startswith(file)}
            return digest_json(below)
        return self.files[file] if slash else self.digest


@dataclass(frozen=True)
class Record:
    """How an artifact came to be.

    Attributes:
        key: the cache key.
        parts: what the key was made of (see `brmrs.store.keys`).
        artifact: what the stage wrote under that key.
        run: the run that wrote it.
        seconds: how long the stage took then.
        peak_memory_bytes: the most its process held then (see `brmrs.system.machine`); 0: not
            known.
        machine: what it ran on then (see `brmrs.system.machine`).
        notes: what the stage told of its work (see `StageContext`).
    """

    key: str
    parts: dict[str, Any]
    artifact: Artifact
    run: str
    seconds: float
    peak_memory_bytes: int = 0
    machine: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {**vars(self), "artifact": vars(self.artifact)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Record":
        """The record that `to_json` wrote."""
        return cls(**{**values, "artifact": Artifact(**values["artifact"])})


class ArtifactStore:
    """Artifacts under one root folder. Safe for several processes at once."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, artifact: Artifact, read: str = "") -> Path:
        """Where an artifact lies, or the file of it that a declared input names."""
        folder = self.root / "objects" / artifact.stage / artifact.digest[:DIGEST_LETTERS]
        _, slash, file = read.partition("/")
        return folder / file if slash else folder

    def scratch(self, stage: str, key: str) -> Path:
        """The scratch folder of a stage under a key."""
        return self.root / "scratch" / stage / key[:DIGEST_LETTERS]

    def stage_cache(self, stage: str) -> Path:
        """The folder of a stage for all its keys."""
        return self.root / "stage_cache" / stage

    def lookup(self, stage: str, key: str, run: str = "") -> Record | None:
        """The record under a key if its artifact is there and verifies, else None.

        Args:
            stage: the stage.
            key: the key.
            run: the run that asks; an incomplete artifact serves none but the run that made it.
        """
        record = self.read_record(self._record_path(stage, key))
        if record is None or record.key != key or record.artifact.stage != stage:
            return None
        if not record.artifact.complete and record.run != run:
            return None
        return record if self.verify(record.artifact) else None

    def records(self, stage: str) -> list[Record]:
        """All readable records of a stage, newest last. Their artifacts are not verified."""
        paths = sorted(
            (self.root / "records" / stage).glob("*.json"), key=lambda path: path.stat().st_mtime_ns
        )
        return [record for path in paths if (record := self.read_record(path))]

    @staticmethod
    def read_record(path: Path) -> Record | None:
        """A record file; None if it is missing or damaged."""
        try:
            return Record.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def verify(self, artifact: Artifact, *, full: bool = False) -> bool:
        """Whether every file of an artifact is there and holds its bytes.

        Files whose size, times and inode stand as when they were last hashed are believed, unless
        `full`; all others are hashed again.
        """
        folder = self.path(artifact)
        try:
            signatures = {name: _signature(folder / name) for name in artifact.files}
            if not full and signatures == self._read_stat(folder):
                return True
            if digest_folder(folder, artifact.stage) != artifact:
                return False
        except OSError:
            return False
        with contextlib.suppress(OSError):  # a disk that takes no more: hashed again next time
            write_json(_stat_path(folder), signatures)
        return True

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A temporary folder for a stage to write into; removed unless `commit` moved it."""
        folder = self.root / "tmp" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, folder: Path, stage: str) -> Artifact:
        """Move a finished folder to its place. An equal artifact that verifies is kept instead."""
        artifact = digest_folder(folder, stage)
        place = self.path(artifact)
        with self.lock(f"commit/{stage}-{artifact.digest}"):
            if not self.verify(artifact):
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(place)
                place.parent.mkdir(parents=True, exist_ok=True)
                folder.rename(place)
                write_json(
                    _stat_path(place), {name: _signature(place / name) for name in artifact.files}
                )
        return artifact

    def write_record(self, record: Record) -> None:
        """Make a key lead to an artifact."""
        write_json(self._record_path(record.artifact.stage, record.key), record.to_json())

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold an exclusive lock; waits for another process or thread that has it."""
        with self._lock_path(name).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def running(self, who: str = "a run", *, wait: bool = True) -> Iterator[None]:
        """Held by a run while it lasts: one at a time. The lock ends with its process.

        Args:
            who: what the others are told of the holder.
            wait: for another to end, instead of raising.

        Raises:
            UnderWayError: another holds it.
        """
        path = self._lock_path("running")
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                other = path.read_text(encoding="utf-8") or "another process"
                if not wait:
                    raise UnderWayError(
                        f"{other} is under way in {self.root}; try again when it has ended"
                    ) from error
                LOG.info("waiting for %s to end", other)
                fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
            file.write(f"{who} (process {os.getpid()} on {platform.node()}, since {since} UTC)")
            file.flush()
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Held by what may remove artifacts.

        Raises:
            UnderWayError: a run is under way.
        """
        with self.running("a clean-up", wait=False):
            yield

    def _lock_path(self, name: str) -> Path:
        path = self.root / "locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _record_path(self, stage: str, key: str) -> Path:
        return self.root / "records" / stage / f"{key}.json"

    @staticmethod
    def _read_stat(folder: Path) -> dict[str, list[int]] | None:
        try:
            signatures: dict[str, list[int]] = json.loads(_stat_path(folder).read_bytes())
        except (OSError, ValueError):
            return None
        return signatures


def digest_folder(folder: Path, stage: str) -> Artifact:
    """Hash all files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): digest_file(path) for path in paths}
    return Artifact(stage, digest_json(files), files, sum(path.stat().st_size for path in paths))


def _signature(path: Path) -> list[int]:
    status = path.stat()
    # ctime cannot be set back, as mtime can
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _stat_path(folder: Path) -> Path:
    return folder.with_name(folder.name + ".stat")
