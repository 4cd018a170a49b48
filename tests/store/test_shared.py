"""Several machines (stores) with one shared address, a folder or a bucket of a real server."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from s3_server import BUCKET, s3_server
from toy_dump import dump
from toy_stage import INCOMPLETE_SEED

from brmrs.config.load import load, parse
from brmrs.config.machines import StoreConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.stages import Stage
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.plan import plan
from brmrs.store.records import Record
from brmrs.store.shared import address as addresses
from brmrs.store.shared.address import Folder, check, opened
from brmrs.store.shared.artifacts import SharedArtifacts, share

TOY = Stage("toy", "toy_stage", config=("split",), external=("reviews",))
DOWN = Stage("down", "toy_stage", config=("split",), reads=("toy/deep/constant.txt",))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "shared")
    request.getfixturevalue("server")
    return f"{BUCKET}/{tmp_path.name}/{tmp_path.parent.name}"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "toy.log"
    path.touch()
    monkeypatch.setenv("TOY_LOG", str(path))
    return path


def machine(tmp_path: Path, name: str) -> ArtifactStore:
    return ArtifactStore(tmp_path / name / "artifacts")


def at(place: str | None, tmp_path: Path, seed: int = 0) -> tuple[PipelineConfig, dict]:  # type: ignore[type-arg]
    config, prints = dump(tmp_path, seed=seed)
    return config.model_copy(update={"store": StoreConfig(shared=place)}), prints


def run(
    store: ArtifactStore, place: str | None, name: str = "r", seed: int = 0, refresh: bool = False
) -> Record:
    config, prints = at(place, store.root.parents[1], seed)
    return execute(TOY, config, prints, {}, store, name, refresh=refresh)


def runs(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_the_second_machine_takes_what_the_first_computed(
    tmp_path: Path, place: str, log: Path
) -> None:
    one, two = machine(tmp_path, "one"), machine(tmp_path, "two")
    first = run(one, place, "first")
    second = run(two, place, "second")
    assert second == first
    assert second.run == "first"
    assert two.verify(second.artifact, full=True)
    assert (two.path(second.artifact) / "deep" / "constant.txt").read_text() == "constant\n"
    assert runs(log) == 1
    assert opened(place).sizes("locks") == {}
    config, prints = at(place, tmp_path)
    down = [execute(DOWN, config, prints, {"toy": first.artifact}, s, "d") for s in (one, two)]
    assert down[0] == down[1]
    assert runs(log) == 2


def test_an_address_is_in_no_key(tmp_path: Path, log: Path) -> None:
    store = machine(tmp_path, "one")
    assert run(store, None).key == run(store, str(tmp_path / "shared")).key


def test_refresh_replaces_the_record(tmp_path: Path, place: str, log: Path) -> None:
    run(machine(tmp_path, "one"), place, "first")
    run(machine(tmp_path, "two"), place, "again", refresh=True)
    assert run(machine(tmp_path, "three"), place).run == "again"
    assert runs(log) == 2


def test_an_incomplete_artifact_is_not_shared(tmp_path: Path, place: str, log: Path) -> None:
    for name in ("one", "two"):
        run(machine(tmp_path, name), place, seed=INCOMPLETE_SEED)
    assert runs(log) == 2
    assert opened(place).sizes("records") == {}


def damage(place: str, kind: str) -> None:
    address = opened(place)
    (result,) = [name for name in address.sizes("objects") if name.endswith("result.txt")]
    (record,) = address.sizes("records")
    name, text = f"records/{record}", (address.read(f"records/{record}", 10**6) or b"").decode()
    values = json.loads(text)
    artifact = values["artifact"]
    if kind == "other bytes":
        address.put(f"objects/{result}", b"seed 1\n")
    elif kind == "other size":
        address.put(f"objects/{result}", b"more than before\n")
    elif kind == "missing":
        address.remove(f"objects/{result}")
    elif kind == "no record":
        address.put(name, b"{")
    elif kind == "another key":
        address.put(name, text.replace(values["key"], "0" * 64).encode())
    elif kind == "outside":
        artifact["files"]["../../outside"] = artifact["files"]["result.txt"]
        address.put(name, json.dumps(values).encode())
    elif kind == "a file and a folder of one name":
        address.put(f"objects/{result}/x", b"")
        artifact["files"]["result.txt/x"] = sha256(b"").hexdigest()
        address.put(name, json.dumps(values).encode())
    elif kind == "absolute":
        artifact["files"]["/tmp/outside"] = artifact["files"]["result.txt"]
        address.put(name, json.dumps(values).encode())


KINDS = [
    "other bytes",
    "other size",
    "missing",
    "no record",
    "another key",
    "outside",
    "absolute",
    "a file and a folder of one name",
]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_reported_computed_again_and_mended(
    tmp_path: Path, place: str, log: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    if kind == "a file and a folder of one name" and "://" not in place:
        pytest.skip("a folder cannot hold both")
    first = run(machine(tmp_path, "one"), place)
    damage(place, kind)
    with caplog.at_level(logging.WARNING):
        second = run(machine(tmp_path, "two"), place)
    assert second.artifact == first.artifact
    assert runs(log) == 2
    named = "result.txt" if kind in ("other bytes", "missing") else ""
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert named in next(each for each in warnings if place in each)
    assert not list(tmp_path.rglob("outside"))
    run(machine(tmp_path, "three"), place)
    assert runs(log) == 2


def test_many_writers_of_one_artifact(tmp_path: Path, place: str, log: Path) -> None:
    record = run(machine(tmp_path, "one"), None)
    shared = SharedArtifacts(opened(place), machine(tmp_path, "one"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: shared.publish(record, afresh=True), range(16)))
    assert run(machine(tmp_path, "two"), place) == record
    assert runs(log) == 1


def test_what_was_computed_without_the_address_is_put_there_later(
    tmp_path: Path, place: str, log: Path
) -> None:
    one = machine(tmp_path, "one")
    record = run(one, None)
    share([record], place, one)
    assert run(machine(tmp_path, "two"), place) == record
    assert runs(log) == 1


def test_the_plan_shows_what_is_at_the_address(tmp_path: Path, place: str, log: Path) -> None:
    run(machine(tmp_path, "one"), place)
    two = machine(tmp_path, "two")
    config, prints = at(place, tmp_path)
    assert [step.state for step in plan((TOY, DOWN), config, prints, two)] == ["shared", "runs"]
    run(two, place)
    assert [step.state for step in plan((TOY,), config, prints, two)] == ["cached"]


# Two processes

SCRIPT = """
import sys; sys.path[:0] = ['tests/store', 'tests/helpers', '.']
import logging; logging.basicConfig(level=logging.INFO)
from pathlib import Path
from brmrs.store.artifacts import ArtifactStore
from test_shared import run
print(run(ArtifactStore(Path(sys.argv[1])), sys.argv[2], 'r').artifact.digest)
"""


def child(store: ArtifactStore, place: str, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(store.root), place],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TOY_SECONDS": str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_running(log: Path, times: int) -> None:
    end = time.monotonic() + 60
    while runs(log) < times:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_two_processes_compute_once(tmp_path: Path, place: str, log: Path) -> None:
    dump(tmp_path)
    children = [child(machine(tmp_path, name), place, 2.0) for name in ("one", "two")]
    outputs = [each.communicate(timeout=120) for each in children]
    assert [each.returncode for each in children] == [0, 0], outputs
    assert len({digest for digest, _ in outputs}) == 1
    assert runs(log) == 1


@pytest.mark.slow
def test_a_killed_holder_is_replaced_in_less_than_a_minute(
    tmp_path: Path, place: str, log: Path
) -> None:
    dump(tmp_path)
    holder = child(machine(tmp_path, "one"), place, 300)
    wait_until_running(log, 1)
    other = child(machine(tmp_path, "two"), place, 0)
    time.sleep(3)
    assert runs(log) == 1
    holder.send_signal(signal.SIGKILL)
    began = time.monotonic()
    _, messages = other.communicate(timeout=100)
    assert other.returncode == 0, messages
    assert time.monotonic() - began < 60
    assert "its lock is taken over" in messages
    assert runs(log) == 2
    assert run(machine(tmp_path, "three"), place).artifact
    assert runs(log) == 2


# Faults of the address


def test_an_address_that_fails_in_the_middle_does_not_fail_the_run(
    tmp_path: Path, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "shared").write_text("a file, where a folder was")
    with caplog.at_level(logging.WARNING):
        assert run(machine(tmp_path, "one"), str(tmp_path / "shared")).artifact
    assert "toy runs without it" in caplog.text
    assert "toy is in the local store only" in caplog.text


def test_a_server_that_is_down_does_not_fail_the_run(
    tmp_path: Path, log: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setitem(addresses.TIMEOUTS, "retries", {"max_attempts": 1})
    monkeypatch.setattr(addresses, "TRIES", 1)
    opened.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with caplog.at_level(logging.WARNING):
            assert run(machine(tmp_path, "one"), BUCKET).artifact
        assert "toy runs without it: s3://shared: Could not connect" in caplog.text
        with pytest.raises(UserError, match="s3://shared: Could not connect"):
            check(BUCKET)
    finally:
        opened.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()


def test_an_address_that_works(place: str) -> None:
    check(place)
    assert opened(place).sizes("probes") == {}


@pytest.mark.usefixtures("server")
def test_a_bucket_that_does_not_exist() -> None:
    with pytest.raises(UserError, match="s3://absent/a: The specified bucket does not exist"):
        check("s3://absent/a")


def test_a_server_without_conditional_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(self: Folder, name: str, data: bytes) -> bool:
        self.put(name, data)
        return True

    monkeypatch.setattr(Folder, "create", create)
    with pytest.raises(UserError, match="ignores conditional writes"):
        check(str(tmp_path / "shared"))


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"pip install 'brmrs\[s3\]'"):
        addresses.Bucket(BUCKET)


@pytest.mark.parametrize(
    "wrong", ["gs://bucket/a", "s3://key:secret@bucket", "s3://", "s3://bucket/../x", "http://a/b"]
)
def test_an_address_that_is_none_of_ours(wrong: str) -> None:
    with pytest.raises(UserError, match=r"store\.shared = .*expected a folder or s3://"):
        parse({"store": {"shared": wrong}}, "test")


def test_an_address_in_a_file(tmp_path: Path) -> None:
    """A folder is relative to the file; an address with a scheme stays as it is."""
    file = tmp_path / "one" / "config.yaml"
    file.parent.mkdir()
    for value, expected in (
        ("../cache", str(tmp_path / "cache")),
        ("s3://shared/a", "s3://shared/a"),
    ):
        file.write_text(f"store: {{shared: {value}}}\n")
        assert load(file).store.shared == expected


def test_a_folder_with_a_pipe_instead_of_a_record(tmp_path: Path, log: Path) -> None:
    place = str(tmp_path / "shared")
    record = run(machine(tmp_path, "one"), place)
    path = tmp_path / "shared" / "records" / "toy" / f"{record.key}.json"
    path.unlink()
    os.mkfifo(path)
    assert run(machine(tmp_path, "two"), place).artifact == record.artifact
    assert runs(log) == 2
