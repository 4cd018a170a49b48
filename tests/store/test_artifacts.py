import os
import shutil
from pathlib import Path

import pytest

from brmrs.store.artifacts import ArtifactStore
from brmrs.store.records import Artifact, Record, from_text


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def put(store: ArtifactStore, text: str = "hello", key: str = "a" * 64) -> Record:
    with store.writing("toy") as folder:
        (folder / "one.txt").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "two.bin").write_bytes(bytes(range(256)))
        artifact = store.commit(folder, "toy")
    record = Record(key, {"code": {}}, artifact, "run-1", 0.5)
    store.write_record(record)
    return record


def test_what_is_put_is_found_with_its_bytes(store: ArtifactStore) -> None:
    record = put(store)
    found = store.lookup("toy", record.key)
    assert found == record
    assert (store.path(record.artifact) / "one.txt").read_text() == "hello"
    assert store.path(record.artifact, "toy/deep/two.bin").read_bytes() == bytes(range(256))
    assert record.artifact.bytes == 5 + 256


def test_the_digest_depends_on_names_and_bytes_alone(store: ArtifactStore) -> None:
    first, again, other = put(store), put(store, key="b" * 64), put(store, "world", "c" * 64)
    assert first.artifact == again.artifact
    assert first.artifact.digest != other.artifact.digest
    assert other.artifact.digest_of("toy/deep/two.bin") == first.artifact.digest_of(
        "toy/deep/two.bin"
    )
    assert other.artifact.digest_of("toy") == other.artifact.digest


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def flip_keeping_times(path: Path) -> None:
    status = path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: shutil.rmtree(path.parent),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["flipped", "deleted", "emptied", "longer", "folder deleted", "a folder instead"],
)
def test_a_damaged_artifact_is_never_served(store: ArtifactStore, damage: object) -> None:
    record = put(store)
    assert callable(damage)
    damage(store.path(record.artifact) / "one.txt")
    assert store.lookup("toy", record.key) is None
    put(store)
    assert store.lookup("toy", record.key) == record
    assert (store.path(record.artifact) / "one.txt").read_text() == "hello"


def test_a_flip_that_hides_its_time_is_found(store: ArtifactStore) -> None:
    record = put(store)
    flip_keeping_times(store.path(record.artifact) / "one.txt")
    assert not store.verify(record.artifact)
    assert not store.verify(record.artifact, full=True)


def test_touched_files_are_hashed_again_and_believed(store: ArtifactStore) -> None:
    record = put(store)
    os.utime(store.path(record.artifact) / "one.txt", (1, 1))
    assert store.lookup("toy", record.key) == record


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"key": "x"}', b"\xff\xfe", b'{"artifact": 3}'],
)
def test_a_damaged_record_is_no_record(store: ArtifactStore, content: bytes) -> None:
    record = put(store)
    path = store.root / "records" / "toy" / f"{record.key}.json"
    path.write_bytes(content)
    assert store.lookup("toy", record.key) is None
    assert store.records("toy") == []


def test_a_record_under_another_key_is_no_record(store: ArtifactStore) -> None:
    record = put(store)
    folder = store.root / "records" / "toy"
    (folder / f"{'f' * 64}.json").write_bytes((folder / f"{record.key}.json").read_bytes())
    assert store.lookup("toy", "f" * 64) is None


def test_an_artifact_replaced_by_another_is_not_served(store: ArtifactStore) -> None:
    one, other = put(store), put(store, "world", "b" * 64)
    shutil.rmtree(store.path(one.artifact))
    shutil.copytree(store.path(other.artifact), store.path(one.artifact))
    assert store.lookup("toy", one.key) is None


def test_nothing_is_left_of_a_stage_that_failed(store: ArtifactStore) -> None:
    with pytest.raises(RuntimeError, match="boom"), store.writing("toy") as folder:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("boom")
    assert list((store.root / "objects" / "toy").iterdir()) == []


def test_records_come_newest_last(store: ArtifactStore) -> None:
    first, second = put(store), put(store, "world", "b" * 64)
    os.utime(store.root / "records" / "toy" / f"{first.key}.json", (1, 1))
    assert [record.key for record in store.records("toy")] == [first.key, second.key]


def test_a_record_survives_json(store: ArtifactStore) -> None:
    record = put(store)
    assert from_text(record.to_text()) == record
    assert isinstance(record.artifact, Artifact)


def test_a_folder_of_an_artifact_may_be_read_and_may_be_absent(store: ArtifactStore) -> None:
    first, other = put(store).artifact, put(store, "world", "c" * 64).artifact
    assert first.digest_of("toy/deep/") == other.digest_of("toy/deep/") != first.digest
    assert first.digest_of("toy/dee/") != first.digest_of("toy/deep/")
    assert (store.path(first, "toy/deep/") / "two.bin").is_file()
    with pytest.raises(KeyError):
        first.digest_of("toy/deep/three.bin")
