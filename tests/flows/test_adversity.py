"""Kills, full disks, folders that cannot be written: told in a line, nothing damaged."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brmrs.config.pipeline import PipelineConfig
from brmrs.serving import current
from brmrs.serving.housekeeping import damaged
from brmrs.stages import STAGES
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import find, sound

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from flows.cli.app import main; main()"]
ALL = [stage.name for stage in STAGES]
KILLS, MANY_KILLS = 20, 200
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def project(tmp_path: Path, small_config: PipelineConfig) -> Path:
    (tmp_path / "small.yaml").write_text(small_config.to_yaml())
    return tmp_path


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, in a process group of its own. One thread: equal bytes need equal threads."""
    home = project.parent / "prefect-home"  # of all tests here: a fresh database costs seconds
    environment = {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=project,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def brmrs(project: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(project, *arguments)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def run(project: Path, artifacts: str, *arguments: str) -> dict[str, Any]:
    code, out, err = brmrs(
        project, "run", "-c", "small.yaml", "--artifacts", artifacts, "--json", "-", *arguments
    )
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def digests(summary: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["digest"] for stage in summary["stages"]}


def ran(summary: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in summary["stages"] if stage["state"] == "ran"]


def kill_at(process: subprocess.Popen[str], running: Path, seconds: float) -> bool:
    """Kill a run so long after it took its lock; False if it ended before."""
    while process.poll() is None and not running.exists():
        time.sleep(0.01)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_twenty_kills_in_a_row_then_completion(project: Path) -> None:
    """Each run makes every stage anew, so each kill hits work; the last completes what is left."""
    calm = run(project, "calm")
    points = random.Random(0)
    everything = [word for name in ALL for word in ("--refresh", name)]
    store = project / "killed"
    running = store / "locks" / "running.lock"
    killed = 0
    for _ in range(KILLS):
        running.unlink(missing_ok=True)
        process = start(project, "run", "-c", "small.yaml", "--artifacts", "killed", *everything)
        killed += kill_at(process, running, points.uniform(0, calm["seconds"]))
    assert killed >= KILLS - 2  # one may have been faster than the calm run
    completed = run(project, "killed")
    assert digests(completed) == digests(calm)
    assert damaged(ArtifactStore(store)) == []
    assert brmrs(project, "gc", "--keep", "1", "--artifacts", "killed")[0] == 0
    run(project, "calm")  # its manifest is then of the same kind: all cached
    assert brmrs(project, "gc", "--keep", "1", "--artifacts", "calm")[0] == 0
    # No more than there; fewer, where the last to be told to make a stage anew forgot its embedded
    # rows and was killed before it had others.
    left, calm_left = files(store), files(project / "calm")
    assert left <= calm_left
    assert all(path.startswith("stage_cache") for path in calm_left - left)


def commands(project: Path) -> dict[str, tuple[str, ...]]:
    """Whatever writes to the store `killed`, by name."""
    store = ("--artifacts", "killed")
    return {
        "run": ("run", "-c", "small.yaml", *store, "--refresh", "split", "--refresh", "train"),
        "retrain": ("retrain", "-c", "small.yaml", "--force", *store),
        "gc": ("gc", "--keep", "2", *store),
        "verify": ("verify", *store),
        "rollback": ("rollback", *store),
        "promote": ("promote", "latest", *store),
    }


def test_two_hundred_kills_of_whatever_writes_to_a_store(project: Path) -> None:
    """At random points of random commands; afterwards nothing is damaged or lost."""
    calm = run(project, "calm")
    seconds: dict[str, float] = {}
    for name, words in commands(project).items():
        started = time.monotonic()
        code, _, err = brmrs(project, *words)
        assert code == 0 or name == "rollback", err
        seconds[name] = time.monotonic() - started
    points, store = random.Random(1), ArtifactStore(project / "killed")
    killed = 0
    for _ in range(MANY_KILLS):
        name = points.choice(sorted(seconds))
        process = start(project, *commands(project)[name])
        try:
            process.wait(points.uniform(0, seconds[name]))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        served = current.read(store).served  # whole after every kill
        for runs in served.values():
            sound(find(store, runs[-1]), store, *current.NEEDED)
    assert killed > MANY_KILLS / 2
    assert digests(run(project, "killed")) == digests(calm)
    assert damaged(store) == []
    assert brmrs(project, "recommend", "--user", "nobody", "--artifacts", "killed")[0] == 2


def test_ctrl_c_does_not_wait_for_training(project: Path) -> None:
    long = ("--set", "train.epochs=100000", "--set", "train.patience=100000")
    process = start(project, "run", "-c", "small.yaml", *long)
    while process.poll() is None and not list(project.glob("artifacts/scratch/train/*/*")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "interrupted" in out + err
    summary = run(project, "artifacts")
    assert ran(summary) == ["train", "evaluate", "diagnosis", "publish", "report"]


def files(store: Path) -> set[str]:
    """Everything in a store but locks, manifests and what Prefect kept, which have random names."""
    paths = (path.relative_to(store) for path in store.rglob("*"))
    return {path.as_posix() for path in paths if path.parts[0] not in ("locks", "runs", "prefect")}


def test_two_processes_at_once_run_each_stage_once(project: Path) -> None:
    arguments = ("run", "-c", "small.yaml", "--json", "-")
    both = [start(project, *arguments) for _ in range(2)]
    told = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    one, other = (json.loads(out) for out, _ in told)
    assert sorted(ran(one) + ran(other)) == sorted(ALL)
    assert digests(one) == digests(other)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """Mount a tmpfs with options; skips where that is not allowed."""
    mounted = []

    def mounter(folder: Path, options: str) -> None:
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
        mounted.append(folder)

    yield mounter
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("kilobytes", [40, 200, 420])
def test_a_full_disk(project: Path, mount: Callable[[Path, str], None], kilobytes: int) -> None:
    """It fills up in different stages; with more room the run goes on where it stopped."""
    disk = project / "disk"
    mount(disk, f"size={kilobytes}k")
    code, _, err = brmrs(project, "run", "-c", "small.yaml", "--artifacts", "disk/artifacts")
    assert code == 2, err
    assert_one_line(err, "No space left on device; free space")
    assert damaged(ArtifactStore(disk / "artifacts")) == []
    subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
    summary = run(project, "disk/artifacts")
    assert digests(summary) == digests(run(project, "calm"))


def fill(folder: Path) -> Path:
    """Leave no room on the disk of a folder."""
    path = folder / "fill"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return path


def test_a_disk_that_fills_up_later(project: Path, mount: Callable[[Path, str], None]) -> None:
    """Each command ends in one line and loses nothing; with more room it goes on."""
    disk = project / "disk"
    mount(disk, "size=40m")
    where = ("--artifacts", "disk/artifacts")
    first = run(project, "disk/artifacts")
    assert brmrs(project, "promote", "latest", *where)[0] == 0
    store = ArtifactStore(disk / "artifacts")
    before = current.read(store)
    ballast = fill(disk)
    for words in (
        ("run", "-c", "small.yaml", "--refresh", "train"),
        ("retrain", "-c", "small.yaml", "--force", "--set", "split.seed=1"),
        ("promote", "latest"),
    ):
        code, _, err = brmrs(project, *words, *where)
        assert code == 2, err
        assert_one_line(err, "No space left on device; free space")
        assert current.read(store) == before
        assert damaged(store) == []
    assert "no user 'x'" in brmrs(project, "recommend", "--user", "x", *where)[2]
    assert brmrs(project, "gc", "--keep", "1", *where)[0] == 0  # frees space on a full disk
    ballast.unlink()
    assert digests(run(project, "disk/artifacts")) == digests(first)
    again = ("retrain", "-c", "small.yaml", "--force", "--set", "split.seed=1")
    assert brmrs(project, *again, *where)[0] == 0
    assert len(current.read(store).history) == len(before.history) + 1


def test_only_the_report_fails(project: Path) -> None:
    """The run is listed, its model answers, and the next run makes only the report."""
    (project / "artifacts" / "objects").mkdir(parents=True)
    in_the_way = project / "artifacts" / "objects" / "report"
    in_the_way.write_text("no folder")
    code, _, err = brmrs(project, "run", "-c", "small.yaml")
    assert code == 2, err
    assert_one_line(err, "remove the file")
    (listed,) = json.loads(brmrs(project, "runs", "--json")[1])
    assert listed["failed"].startswith("report: ")
    assert [stage["name"] for stage in listed["stages"]] == [
        name for name in ALL if name != "report"
    ]
    assert "no item 'x' among the" in brmrs(project, "similar", "--item", "x")[2]
    assert brmrs(project, "promote", "latest")[0] == 0
    in_the_way.unlink()
    assert ran(run(project, "artifacts")) == ["report"]


def assert_one_line(err: str, told: str) -> None:
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert told in line


def test_an_artifacts_folder_that_cannot_be_written(
    project: Path, mount: Callable[[Path, str], None]
) -> None:
    """Nothing runs in it; what only reads still works."""
    disk = project / "disk"
    mount(disk, "size=100m")
    summary = run(project, "disk/artifacts")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    where = ("--artifacts", "disk/artifacts")
    code, _, err = brmrs(project, "run", "-c", "small.yaml", *where)
    assert code == 2
    assert_one_line(err, "--artifacts disk/artifacts: it cannot be written; choose another")
    code, _, err = brmrs(project, "gc", "--keep", "1", *where)
    assert code == 2
    assert_one_line(err, "Read-only file system; choose")
    for look in (("plan", "-c", "small.yaml"), ("runs",), ("show", summary["run"]), ("verify",)):
        code, _, err = brmrs(project, *look, *where)
        assert code == 0, err


def test_folders_behind_links(project: Path, small_sample: Path) -> None:
    """The same bytes, wherever they lie; a link that leads nowhere is told."""
    direct = run(project, "artifacts")
    (project / "elsewhere").mkdir()
    shutil.move(project / "artifacts", project / "elsewhere")
    (project / "artifacts").symlink_to("elsewhere/artifacts", target_is_directory=True)
    (project / "data").symlink_to(small_sample, target_is_directory=True)
    places = (
        *("--set", "ingest.reviews=data/reviews.jsonl.gz"),
        *("--set", "ingest.metadata=data/meta.jsonl.gz"),
        *("--set", "images.folder=data/images"),
    )
    linked = run(project, "artifacts", *places)
    assert ran(linked) == []
    assert digests(linked) == digests(direct)
    for link, told in (("data", "data/reviews.jsonl.gz"), ("artifacts", "--artifacts artifacts")):
        (project / link).unlink()
        (project / link).symlink_to("nowhere")
        code, _, err = brmrs(project, "run", "-c", "small.yaml", *places)
        assert code == 2
        assert_one_line(err, told)
        (project / link).unlink()
        (project / link).symlink_to(small_sample if link == "data" else "elsewhere/artifacts")


def test_a_clock_that_was_set_back(project: Path) -> None:
    """By a year: the run of today still counts as made, and the newest run as the newest."""
    today = run(project, "artifacts")
    (manifest,) = (project / "artifacts" / "runs").iterdir()
    ahead = json.loads(manifest.read_text())
    ahead["name"] = f"2999{ahead['name'][4:]}"
    manifest.with_name(f"{ahead['name']}.json").write_text(json.dumps(ahead))
    manifest.unlink()
    for path in (project / "artifacts" / "objects").rglob("*"):
        os.utime(path, (32_472_144_000, 32_472_144_000))  # 2999, as seen from today
    again = run(project, "artifacts")
    assert ran(again) == []
    assert digests(again) == digests(today)
    listed = json.loads(brmrs(project, "runs", "--json")[1])
    assert listed[0]["run"] == again["run"]
