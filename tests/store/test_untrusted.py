"""A store that somebody else may have written: nothing in it runs, breaks out or breaks down."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect.serializers import JSONSerializer
from toy_dump import dump

from brmrs.errors import UserError
from brmrs.serving import current
from brmrs.serving.housekeeping import collect
from brmrs.stages import Stage
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.records import from_text, read_record
from brmrs.store.runs import Run, all_runs, find, new_name, read_evaluation, save
from brmrs.system import untrusted

UP = Stage("ingest", "toy_stage", config=("split",), external=("reviews",))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """One run of one stage."""
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    store = ArtifactStore(tmp_path / "artifacts")
    make_run(store, "20260101-000000-abcd")
    return store


def make_run(store: ArtifactStore, name: str) -> Run:
    config, prints = dump(store.root.parent)
    record = execute(UP, config, prints, {}, store, name)
    run = Run(name, config.model_dump(mode="json"), prints, {"ingest": record}, 1.0, {})
    save(run, store)
    return run


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def the_record(store: ArtifactStore) -> Path:
    (path,) = (store.root / "records" / "ingest").iterdir()
    return path


def test_a_class_tag_in_a_record_is_data(store: ArtifactStore, tmp_path: Path) -> None:
    """Prefect's decoder imports and calls what `__class__` names; it gets one string instead."""
    pwned = tmp_path / "PWNED"
    attack = {"__class__": "subprocess.getoutput", "data": {"cmd": f"id > {pwned}"}}
    change(the_record(store), notes={"x": attack})
    record = read_record(the_record(store))
    assert record is not None
    assert record.notes == {"x": attack}
    serializer: Any = JSONSerializer()
    result = serializer.loads(serializer.dumps(record.to_text()))
    assert from_text(result) == record
    assert not pwned.exists()
    serializer.loads(json.dumps(record.to_json()).encode())  # as it was: it runs
    assert pwned.exists()


WRONG = [
    {"key": 1},
    {"key": "../../x"},
    {"run": "[/red]"},
    {"run": "a\x1b[2J"},
    {"seconds": "long"},
    {"seconds": -1},
    {"parts": []},
    {"machine": 3},
    {"notes": []},
    {"notes": {"stage_cache": "abc"}},
    {"notes": {"stage_cache": ["../../../home"]}},
    {"artifact": None},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_a_record_of_another_schema_is_no_record(
    store: ArtifactStore, changes: dict[str, Any]
) -> None:
    path = the_record(store)
    change(path, **changes)
    assert read_record(path) is None
    assert store.lookup("ingest", path.stem) is None
    assert store.records("ingest") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "../x"},
        {"digest": "abc"},
        {"digest": f"{'../' * 20}{'a' * 4}"},
        {"files": {"../../x": "a" * 64}},
        {"files": {"/etc/passwd": "a" * 64}},
        {"files": {"a//b": "a" * 64}},
        {"files": ["a"]},
        {"bytes": -1},
    ],
    ids=str,
)
def test_an_artifact_names_files_of_its_own_folder_alone(
    store: ArtifactStore, changes: dict[str, Any]
) -> None:
    path = the_record(store)
    artifact = json.loads(path.read_text())["artifact"]
    change(path, artifact={**artifact, **changes})
    assert read_record(path) is None


DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        DEEP,
        b"[" * 100_000,
        b'{"name": NaN}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": "\\ud800"}',
    ],
    ids=range(9),
)
def test_odd_bytes_are_one_line(store: ArtifactStore, content: bytes) -> None:
    manifest = store.root / "runs" / "20260101-000000-abcd.json"
    for path in (manifest, store.root / "current.json"):
        path.write_bytes(content)
    for read in (lambda: list(all_runs(store)), lambda: current.read(store)):
        with pytest.raises(UserError) as error:
            read()
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"name": "[/red]"},
        {"config": {}},
        {"config": {"name": "x", "note": "", "model": "m", "train": {"seed": 0}}},
        {"fingerprint": {"reviews": {"sha256": "x", "files": []}}},
        {"fingerprint": {"reviews": {"sha256": "a" * 64, "files": [{"name": 1}]}}},
        {"stages": {"ingest": {}}},
        {"stages": []},
        {"seconds": None},
        {"machine": "x"},
        {"kind": "attack"},
    ],
    ids=str,
)
def test_a_manifest_of_another_schema_is_one_line(
    store: ArtifactStore, changes: dict[str, Any]
) -> None:
    change(store.root / "runs" / "20260101-000000-abcd.json", **changes)
    for read in (lambda: list(all_runs(store)), lambda: find(store, "latest")):
        with pytest.raises(UserError, match=r"abcd\.json") as error:
            read()
        assert "\n" not in str(error.value)


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(store: ArtifactStore) -> None:
    record = the_record(store)
    record.unlink()
    (store.root / current.FILE).unlink(missing_ok=True)
    for path in (record, store.root / current.FILE, store.root / "runs" / "20990101.json"):
        os.mkfifo(path)
    assert read_record(record) is None
    with pytest.raises(UserError, match="no regular file"):
        current.read(store)
    with pytest.raises(UserError, match="no regular file"):
        list(all_runs(store))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "hard link"])
def test_an_odd_file_in_place_of_a_lock_is_one_line(
    store: ArtifactStore, tmp_path: Path, kind: str
) -> None:
    mine, lock = tmp_path / "mine", store.root / "locks" / "running.lock"
    mine.write_text("precious")
    lock.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.hardlink_to(mine)
    with pytest.raises(UserError, match="no lock file"), store.running():
        pass
    assert mine.read_text() == "precious"


def test_a_renamed_manifest_is_told_and_collects_nothing(store: ArtifactStore) -> None:
    manifest = store.root / "runs" / "20260101-000000-abcd.json"
    renamed = manifest.rename(manifest.with_name("other.json"))
    with pytest.raises(UserError, match=r"other\.json: it is the manifest of run 20260101"):
        collect(store, keep=1)
    assert renamed.exists()
    assert store.lookup("ingest", the_record(store).stem)


def test_no_run_is_named_after_the_year_9999(store: ArtifactStore) -> None:
    make_run(store, "99991231-235959-999-abcd")
    with pytest.raises(UserError, match=r"99991231-235959-999-abcd\.json: no run can be named"):
        new_name(store)


@pytest.mark.parametrize(
    "text",
    [
        '{"served": "abc", "history": []}',
        '{"served": {"small": "abc"}, "history": []}',
        '{"served": {"small": []}, "history": []}',
        '{"served": {"small": ["../x"]}, "history": []}',
        '{"served": {}, "history": [{"action": "promoted"}]}',
        '{"served": {}, "history": {}}',
        '{"served": {"\\n": ["x"]}, "history": []}',
        "3",
    ],
)
def test_a_pointer_of_another_schema_is_one_line(store: ArtifactStore, text: str) -> None:
    (store.root / "current.json").write_text(text)
    for read in (current.read, current.roll_back, current.serving):
        with pytest.raises(UserError, match=r"current\.json: not a file that brmrs wrote") as error:
            read(store)
        assert "\n" not in str(error.value)


def test_a_pointer_of_one_data_set_is_read_as_its(store: ArtifactStore) -> None:
    """The file as it was before a store could serve several data sets."""
    old = {"served": ["20260101-000000-abcd"], "history": []}
    (store.root / "current.json").write_text(json.dumps(old))
    assert current.read(store).served == {"dataset": ("20260101-000000-abcd",)}


@pytest.mark.parametrize("content", ['{"test": {"recall@20": "x"}}', "[]", '{"test": 1}'])
def test_metrics_of_another_schema_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match="no metrics of a run"):
        read_evaluation(tmp_path / "metrics.json")


def test_a_file_that_is_too_large_is_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untrusted, "MOST_BYTES", 10)
    (tmp_path / "file").write_text("[1, 2, 3, 4]")
    with pytest.raises(ValueError, match="more than 10 bytes"):
        untrusted.parse(tmp_path / "file")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
VALID: dict[str, Any] = {
    "key": "a" * 64,
    "parts": {"code": {}},
    "artifact": {"stage": "toy", "digest": "a" * 64, "files": {"x": "b" * 64}, "bytes": 1},
    "run": "r",
    "seconds": 1.0,
}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*VALID, "notes", "machine"]), ANY, max_size=3), st.binary())
def test_no_record_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], tail: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "record.json"
    path.write_bytes(json.dumps({**VALID, **changes}).encode() + tail)
    record = read_record(path)
    assert record is None or from_text(record.to_text()) == record


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(ANY)
def test_no_manifest_or_pointer_breaks_the_readers(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed"
    (root / "runs").mkdir(parents=True, exist_ok=True)
    store = ArtifactStore(root)
    for path in (root / "runs" / "r.json", root / "current.json"):
        path.write_text(json.dumps(content))
    for read in (lambda: list(all_runs(store)), lambda: current.read(store)):
        with pytest.raises(UserError):
            read()
