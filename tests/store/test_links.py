"""Folders of a store that are links, and a store that another user reads."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from toy_dump import dump

from brmrs.errors import UserError
from brmrs.serving.housekeeping import collect, sweep
from brmrs.stages import Stage
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.runs import Run, all_runs, save

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


# Links: in a store that was copied from elsewhere, a folder may be a link to anything.


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder outside of the store, two levels deep, very old."""
    home = tmp_path / "home"
    (home / "deep" / "deeper").mkdir(parents=True)
    for path in (home / "letter", home / "deep" / "letter", home / "deep" / "deeper" / "letter"):
        path.write_text("dear")
        os.utime(path, (0, 0))
    return home


def content(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


PLACES = [
    "tmp",
    "tmp/x",
    "objects",
    "objects/X",
    "objects/ingest/.new",
    "objects/ingest/0123456789abcdef",
    "records",
    "records/X",
    "runs",
    "failures",
    "failures/x",
    "scratch",
    "scratch/ingest",
    "scratch/ingest/x",
    "scratch/X/y",
    "stage_cache",
    "stage_cache/ingest",
    "stage_cache/ingest/public",
    "stage_cache/ingest/public/x",
    "locks",
    "locks/ingest",
    "prefect",
    "prefect/X",
]


@pytest.mark.parametrize("place", PLACES)
def test_what_is_behind_a_link_is_never_removed(
    store: ArtifactStore, home: Path, place: str
) -> None:
    link, before = store.root / place, content(home)
    if link.exists():
        link.rename(store.root.parent / "away")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(home, target_is_directory=True)
    sweep(store)
    collect(store, keep=1)
    config, prints = dump(store.root.parent)
    execute(UP, config, prints, {}, store, "again", refresh=True)
    found = content(home)
    assert before.items() <= found.items()


def test_a_link_inside_of_garbage_stops_nothing(store: ArtifactStore, home: Path) -> None:
    folder = store.root / "scratch" / "ingest" / "old"
    folder.mkdir(parents=True)
    (folder / "there").symlink_to(home, target_is_directory=True)
    (folder / "nowhere").symlink_to("nowhere")
    os.utime(folder / "there", (0, 0), follow_symlinks=False)
    collect(store, keep=1)
    assert not folder.exists()
    assert len(content(home)) == 3


def test_gc_names_the_folders_that_are_links(store: ArtifactStore, home: Path) -> None:
    (store.root / "objects" / "train").symlink_to(home, target_is_directory=True)
    assert collect(store, keep=1).links == ("objects/train",)


def test_a_damaged_artifact_behind_a_link_is_set_aside(store: ArtifactStore) -> None:
    elsewhere = store.root.parent / "elsewhere"
    (store.root / "objects").rename(elsewhere)
    (store.root / "objects").symlink_to(elsewhere, target_is_directory=True)
    (run,) = all_runs(store)
    (store.path(run.artifact("ingest")) / "result.txt").write_text("damaged")
    config, prints = dump(store.root.parent)
    record = execute(UP, config, prints, {}, store, "again")
    assert store.verify(record.artifact, full=True)
    kept = [path for path in (elsewhere / "ingest").iterdir() if ".damaged-" in path.name]
    assert [(path / "result.txt").read_text() for path in kept] == ["damaged"]


def test_a_link_in_place_of_a_lock_is_not_written_through(store: ArtifactStore, home: Path) -> None:
    lock = store.root / "locks" / "running.lock"
    lock.unlink(missing_ok=True)
    lock.parent.mkdir(exist_ok=True)
    lock.symlink_to(home / "letter")
    with pytest.raises((UserError, OSError)), store.running():
        pass
    assert (home / "letter").read_text() == "dear"


def test_a_link_in_an_artifact_is_damage(store: ArtifactStore) -> None:
    (run,) = all_runs(store)
    file = store.path(run.artifact("ingest")) / "result.txt"
    file.rename(store.root.parent / "result.txt")
    file.symlink_to(store.root.parent / "result.txt")
    assert not store.verify(run.artifact("ingest"))


def test_a_stray_file_in_an_artifact_is_damage(store: ArtifactStore) -> None:
    (run,) = all_runs(store)
    assert store.verify(run.artifact("ingest"))
    (store.path(run.artifact("ingest")) / "deep" / "stray").touch()
    assert not store.verify(run.artifact("ingest"))


# Sharing a store between users.

READER = """
import os, sys
from pathlib import Path
from brmrs.errors import UserError
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import all_runs, sound
store = ArtifactStore(Path(sys.argv[1]))
os.setgid(65534); os.setuid(65534); os.umask(0o022)  # the interpreter may be out of its reach
try:
    (run,) = all_runs(store)
    print(sound(run, store, "ingest").name, store.verify(run.artifact("ingest"), full=True))
except UserError as error:
    print("error:", error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_another_user_reads_a_store(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries write files that only their owner may read; `commit` changes their mode."""
    root = tmp_path_factory.mktemp("shared")
    for folder in (root, *root.parents):
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(0o755)
    monkeypatch.setenv("TOY_LOG", str(root / "log"))
    monkeypatch.setenv("TOY_MODE", "600")
    store = ArtifactStore(root / "artifacts")
    run = make_run(store, "20260101-000000-abcd")
    file = store.path(run.artifact("ingest")) / "result.txt"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert as_nobody(store) == "20260101-000000-abcd True"
    file.chmod(0o600)
    told = as_nobody(store)
    assert told.startswith("error: ")
    assert "result.txt: Permission denied; correct the permissions" in told


def as_nobody(store: ArtifactStore) -> str:
    done = subprocess.run(
        [sys.executable, "-c", READER, str(store.root)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout.strip()
