"""A disk without room: nothing is lost, and cleaning up still works."""

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy_dump import dump

from brmrs.errors import UserError
from brmrs.serving import current
from brmrs.serving.housekeeping import collect, damaged
from brmrs.stages import Stage
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.runs import Run, all_runs, find, save
from brmrs.system import checkpoint

STAGES = [
    Stage(name, "toy_stage", config=("split",), external=("reviews",))
    for name in ("ingest", "train")
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def store(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """Three runs on the disk, the first two promoted, in this order; then the disk is full."""
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    store = ArtifactStore(disk / "artifacts")
    for seed in range(3):
        config, prints = dump(tmp_path, seed=seed)
        records = {
            stage.name: execute(stage, config, prints, {}, store, f"run{seed}") for stage in STAGES
        }
        save(Run(f"run{seed}", config.model_dump(mode="json"), prints, records, 1.0, {}), store)
    for name in ("run0", "run1"):
        current.promote(store, name)
    with store.running():
        pass
    fill(disk)
    return store


def fill(disk: Path) -> None:
    with (disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(512)):
            pass


def test_nothing_is_lost(store: ArtifactStore, disk: Path, tmp_path: Path) -> None:
    before = current.read(store), [run.name for run in all_runs(store)]
    config, prints = dump(tmp_path, seed=9)
    with pytest.raises(UserError, match="No space left on device; free space and run again"):
        execute(STAGES[0], config, prints, {}, store, "run9")
    writes = (
        lambda: current.promote(store, "run2"),
        lambda: current.roll_back(store),
        lambda: save(find(store, "run0"), store),
    )
    for write in writes:
        with pytest.raises(OSError) as caught:  # noqa: PT011 - checked below
            write()
        assert caught.value.errno == errno.ENOSPC
    assert (current.read(store), [run.name for run in all_runs(store)]) == before
    assert damaged(store) == []
    hidden = [path for path in disk.rglob(".*") if path.name != ".stat"]
    assert hidden == []  # no temporary file takes room
    (disk / "fill").unlink()
    assert execute(STAGES[0], config, prints, {}, store, "run9").run == "run9"
    assert current.roll_back(store).name == "run0"


def test_garbage_is_collected(store: ArtifactStore) -> None:
    store.discard(store.root / "runs" / "run2.json")
    current.resolve(store, "served")
    garbage = collect(store, keep=1)
    assert len(garbage.paths) >= 6  # the artifacts and records of run2
    assert damaged(store) == []


def test_the_earlier_checkpoint_stays(disk: Path) -> None:
    path, cpu = disk / "c.pt", torch.device("cpu")
    checkpoint.save(path, {"epoch": 1, "values": torch.zeros(1000)})
    fill(disk)
    with pytest.raises((OSError, RuntimeError)):
        checkpoint.save(path, {"epoch": 2, "values": torch.zeros(10_000)})
    found = checkpoint.load(path, cpu)
    assert found is not None
    assert found["epoch"] == 1
    assert sorted(each.name for each in disk.iterdir()) == ["c.pt", "fill"]
    (disk / "fill").unlink()
    checkpoint.save(path, {"epoch": 2, "values": torch.zeros(10_000)})
    found = checkpoint.load(path, cpu)
    assert found is not None
    assert found["epoch"] == 2
