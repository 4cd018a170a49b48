"""Machines as they are: other disks, file systems without locks, damage that hides, full disks."""

import errno
import fcntl
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from brmrs.errors import UserError, os_fault
from brmrs.serving.housekeeping import damaged
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.records import Record
from brmrs.system import files
from brmrs.system.files import digest_unchanged


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def put(store: ArtifactStore, text: str = "hello") -> Record:
    with store.writing("ingest") as folder:
        (folder / "one.txt").write_text(text)
        artifact = store.commit(folder, "ingest")
    record = Record("a" * 64, {}, artifact, "run", 0.5)
    store.write_record(record)
    return record


@pytest.fixture(params=["objects", "objects/ingest", "records", "records/ingest"])
def another_disk(store: ArtifactStore, request: pytest.FixtureRequest) -> Iterator[None]:
    folder = store.root / request.param
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=False)
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    yield
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.usefixtures("another_disk")
def test_a_folder_of_the_store_may_be_on_another_disk(store: ArtifactStore) -> None:
    record = put(store)
    assert store.lookup("ingest", record.key) == record


def test_damage_that_keeps_size_times_and_inode(store: ArtifactStore) -> None:
    """As of a bad disk: the quick check believes the file until a full one does not."""
    record = put(store)
    file = store.path(record.artifact) / "one.txt"
    stat_file = store.path(record.artifact).with_suffix(".stat")
    file.write_text("hellO")
    # What the quick check compares with is made to look as if nothing had happened.
    store.verify(record.artifact)
    status = file.stat()
    times = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    files.write_json(stat_file, {"one.txt": times})
    assert store.verify(record.artifact)
    assert damaged(store) == [record.artifact]
    assert not stat_file.exists()
    assert store.lookup("ingest", record.key) is None
    files.write_json(stat_file, {"one.txt": times})
    assert put(store) == record  # as `--refresh` does: a commit compares every byte
    assert file.read_text() == "hello"


def test_the_order_in_which_an_artifact_and_its_record_reach_the_disk(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    put(store)
    names = [Path(name).relative_to(store.root).parts for name in synced]
    assert names[0][-1] == "one.txt"
    assert names[1] == names[0][:-1]  # the artifact's folder
    assert names[2] == ("objects", "ingest")
    assert names[3][:2] == ("records", "ingest")
    assert names[4] == ("records", "ingest")


NUMBERS = [
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.ENOLCK,
    errno.EOPNOTSUPP,
    errno.ESTALE,
    errno.EIO,
    errno.ENFILE,
    errno.ENOTCONN,
    errno.ENODEV,
    errno.EREMOTEIO,
    errno.EISDIR,
    errno.ENOTDIR,
]


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_an_error_of_the_system_is_told_with_advice(number: int) -> None:
    try:
        try:
            raise OSError(number, os.strerror(number), "a/file")
        except OSError as error:
            raise RuntimeError("something else") from error
    except RuntimeError as error:
        fault = os_fault(error)
    assert str(fault).startswith(f"a/file: {os.strerror(number)}; ")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Permission denied"),
        ValueError("No space left on device"),
        KeyError("Read-only file system"),
        OSError("Permission denied"),
        OSError(errno.ENOENT, "No such file or directory"),
    ],
    ids=repr,
)
def test_words_are_no_error_of_the_system(error: Exception) -> None:
    assert os_fault(error) is None


@pytest.mark.parametrize("allocate", [np.empty, torch.empty])
def test_too_little_memory_is_told_with_advice(allocate: Callable[[int], object]) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate(10**15)
    assert str(os_fault(caught.value)).startswith("Cannot allocate memory; free memory")


def test_a_full_disk_under_sqlite_is_told_with_advice(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute("PRAGMA max_page_count = 3")  # as on a disk that is full after three pages
    with pytest.raises(sqlite3.OperationalError) as caught:
        for number in range(9):
            connection.execute(f"CREATE TABLE t{number} (x)")
    assert str(os_fault(caught.value)).startswith("No space left on device; free space")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ESTALE, errno.EIO])
def test_a_file_system_without_locks(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for lock in (store.lock("x"), store.running("a run"), store.running("a run", wait=False)):
        with pytest.raises(UserError, match=os.strerror(number)), lock:
            pass


def test_a_file_is_hashed_once_while_it_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dump"
    path.write_text("one")
    monkeypatch.setattr(files, "SETTLED_NS", 0)
    first = digest_unchanged(path)
    monkeypatch.setattr(files, "digest_file", lambda path: "x")
    assert digest_unchanged(path) == first
    path.write_text("two")
    assert digest_unchanged(path) == "x"


def test_a_file_that_just_changed_is_not_remembered(tmp_path: Path) -> None:
    """It may change again within the same tick of the clock."""
    path = tmp_path / "dump"
    path.write_text("one")
    first = digest_unchanged(path)
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_unchanged(path) != first
