import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toy_dump import dump
from toy_stage import INCOMPLETE_SEED

from brmrs.config.learning import TrainConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import StageError, UserError
from brmrs.stages import Stage
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.records import Artifact, Record
from brmrs.system.machine import describe, high_water

TOY = Stage("toy", "toy_stage", config=("split",), external=("reviews",))
DOWN = Stage("down", "toy_stage", config=("split",), reads=("toy/deep/constant.txt",))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "toy.log"
    path.touch()
    monkeypatch.setenv("TOY_LOG", str(path))
    return path


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def run(store: ArtifactStore, seed: int = 0, name: str = "r", *, refresh: bool = False) -> Record:
    config, prints = dump(store.root.parent, seed=seed)
    return execute(TOY, config, prints, {}, store, name, refresh=refresh)


def runs(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_the_second_time_is_a_hit_and_keeps_the_name_of_the_first_run(
    store: ArtifactStore, log: Path
) -> None:
    first = run(store, name="first")
    second = run(store, name="second")
    assert first == second
    assert second.run == "first"
    assert runs(log) == 1


def test_another_configuration_is_a_miss_and_the_old_one_still_a_hit(
    store: ArtifactStore, log: Path
) -> None:
    zero, one = run(store, seed=0), run(store, seed=1)
    assert zero.artifact.digest != one.artifact.digest
    assert run(store, seed=0) == zero
    assert runs(log) == 2


def test_configuration_of_other_stages_does_not_count(store: ArtifactStore, log: Path) -> None:
    run(store)
    config, prints = dump(store.root.parent)
    changed = config.model_copy(update={"train": TrainConfig(learning_rate=0.5)})
    execute(TOY, changed, prints, {}, store, "r")
    assert runs(log) == 1


def test_other_bytes_from_outside_are_a_miss(store: ArtifactStore, log: Path) -> None:
    run(store)
    config, prints = dump(store.root.parent, "another review")
    execute(TOY, config, prints, {}, store, "r")
    assert runs(log) == 2


def test_bytes_that_change_while_they_are_read_are_refused(store: ArtifactStore, log: Path) -> None:
    config, prints = dump(store.root.parent)
    dump(store.root.parent, "replaced")
    with pytest.raises(UserError, match="reviews changed while it was read"):
        execute(TOY, config, prints, {}, store, "r")
    assert store.records("toy") == []


def test_early_cut_off_by_file(store: ArtifactStore, log: Path) -> None:
    """The toy's result changes with the seed, the file that DOWN reads does not."""
    config = PipelineConfig()
    for seed in (0, 1):
        upstream = {"toy": run(store, seed=seed).artifact}
        execute(DOWN, config, {}, upstream, store, "r")
    assert runs(log) == 3


def test_refresh_runs_again(store: ArtifactStore, log: Path) -> None:
    first = run(store, name="first")
    again = run(store, name="again", refresh=True)
    assert runs(log) == 2
    assert again.artifact == first.artifact
    assert again.run == "again"


def test_a_failed_stage_stores_nothing_and_keeps_its_scratch_for_the_next(
    store: ArtifactStore, log: Path
) -> None:
    with pytest.raises(UserError, match="seed"):
        run(store, seed=1001)
    assert store.records("toy") == []
    assert list((store.root / "objects" / "toy").iterdir()) == []


def test_a_failure_names_stage_input_and_log(
    store: ArtifactStore, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOY_LOG")  # the toy stage looks it up
    with pytest.raises(StageError) as failure:
        run(store, name="broken")
    told = str(failure.value)
    _, prints = dump(store.root.parent)
    assert told.startswith("toy failed: KeyError: 'TOY_LOG'; it read reviews ")
    assert prints["reviews"]["sha256"][:12] in told
    file = store.root / "failures" / "broken-toy.log"
    assert str(file) in told
    assert "toy_stage.py" in file.read_text()
    monkeypatch.setenv("TOY_LOG", str(log))
    assert run(store).key
    assert runs(log) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), "toy: x/y: No space left"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "toy: Read-only file system; choose"),
        (RuntimeError("sink: IO error: No space left on device (os error 28)"), "free space"),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "ulimit"),
    ],
)
def test_what_the_disk_refuses_is_for_the_user_to_fix(
    store: ArtifactStore, log: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def refuse(folder: Path, stage: str) -> Artifact:
        raise error

    monkeypatch.setattr(store, "commit", refuse)
    with pytest.raises(UserError, match=told):
        run(store)
    assert list((store.root / "objects" / "toy").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("TOY_LOG", str(log))
    assert store.verify(run(store).artifact, full=True)


def test_a_record_tells_how_much_memory_it_took_and_where(store: ArtifactStore, log: Path) -> None:
    record = run(store)
    assert 0 < record.peak_memory_bytes <= high_water()
    assert record.machine == describe()


def test_the_scratch_folder_goes_once_the_artifact_is_stored(
    store: ArtifactStore, log: Path
) -> None:
    record = run(store)
    assert not store.scratch("toy", record.key).exists()


def test_an_incomplete_artifact_serves_the_run_that_made_it_alone(
    store: ArtifactStore, log: Path
) -> None:
    record = run(store, INCOMPLETE_SEED, "first")
    assert run(store, INCOMPLETE_SEED, "first") == record
    assert runs(log) == 1
    tries = store.scratch("toy", record.key) / "tries"
    assert run(store, INCOMPLETE_SEED, "second").run == "second"
    assert runs(log) == 2
    assert tries.read_text() == "one\n" * 2  # it goes on where it was


def test_refresh_starts_from_nothing(store: ArtifactStore, log: Path) -> None:
    record = run(store, INCOMPLETE_SEED)
    for folder in (store.scratch("toy", record.key), store.stage_cache("toy")):
        run(store, INCOMPLETE_SEED, "again", refresh=True)
        assert (folder / "tries").read_text() == "one\n"


def test_two_processes_at_once_compute_once(tmp_path: Path, log: Path) -> None:
    script = (
        "import sys; sys.path[:0] = ['tests/store', 'tests/helpers', '.']\n"
        "from pathlib import Path\n"
        "from test_execute import run\n"
        "from brmrs.store.artifacts import ArtifactStore\n"
        f"print(run(ArtifactStore(Path({str(tmp_path / 'artifacts')!r}))).artifact.digest)\n"
    )
    root = Path(__file__).parents[2]
    dump(tmp_path)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=root,
            env={**os.environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    digests = {child.communicate(timeout=60)[0] for child in children}
    assert all(child.returncode == 0 for child in children)
    assert len(digests) == 1
    assert runs(log) == 1


def test_two_threads_never_import_stages_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["slow_stage_one", "slow_stage_two"]
    code = "import time\ntimes = [time.monotonic()]\ntime.sleep(0.1)\nrun = print\n"
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"{code}times.append(time.monotonic())\n")
    monkeypatch.syspath_prepend(tmp_path)
    with ThreadPoolExecutor() as pool:
        loading = [pool.submit(Stage(name, name).load) for name in names]
        assert [future.result() for future in loading] == [print, print]
    first, second = sorted(sys.modules[name].times for name in names)
    assert first[1] <= second[0]
