import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from toy_dump import dump

from brmrs.errors import UserError
from brmrs.serving.housekeeping import collect, damaged, sweep
from brmrs.stages import STAGE_CACHE, Stage
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.lineage import difference, origin
from brmrs.store.locks import UnderWayError
from brmrs.store.runs import Run, all_runs, find, latest, new_name, save
from brmrs.system.files import digest_json

# Named like real stages: housekeeping looks at the declared ones.
UP = Stage("ingest", "toy_stage", config=("split",), external=("reviews",))
DOWN = Stage("split", "toy_stage", config=("split",), reads=("ingest/result.txt",))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """Three runs, each with a seed of its own."""
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    store = ArtifactStore(tmp_path / "artifacts")
    for seed in range(3):
        make_run(store, seed)
    return store


def make_run(store: ArtifactStore, seed: int) -> Run:
    config, prints = dump(store.root.parent, seed=seed)
    name = f"2026010{seed}-000000-abc{seed}"
    up = execute(UP, config, prints, {}, store, name)
    down = execute(DOWN, config, prints, {"ingest": up.artifact}, store, name)
    run = Run(
        name,
        config.model_dump(mode="json"),
        prints,
        {"ingest": up, "split": down},
        1.0,
        {},
    )
    save(run, store)
    return run


def files(store: ArtifactStore) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*")}


def test_runs_come_back_newest_first(store: ArtifactStore) -> None:
    assert [run.config["split"]["seed"] for run in all_runs(store)] == [2, 1, 0]
    for name, seed in (("abc1", 1), ("20260100", 0), ("latest", 2)):
        assert find(store, name).config["split"]["seed"] == seed
    assert latest(store, "split").config["split"]["seed"] == 2


def test_stages_come_back_in_the_order_in_which_they_run(store: ArtifactStore) -> None:
    run = find(store, "latest")
    record = run.stages["split"]
    names = ["ingest", "split", "graphs", "train", "evaluate", "of_another_version"]
    save(replace(run, stages=dict.fromkeys(names, record)), store)
    assert list(find(store, "latest").stages) == names


@pytest.mark.parametrize("name", ["nope", "abc", ""])
def test_a_run_that_is_not_there_or_not_one_is_told(store: ArtifactStore, name: str) -> None:
    with pytest.raises(UserError, match="brmrs runs"):
        find(store, name)


def test_a_damaged_manifest_is_told(store: ArtifactStore) -> None:
    path = sorted((store.root / "runs").iterdir())[0]
    path.write_text("{")
    with pytest.raises(UserError, match=path.name):
        list(all_runs(store))


def test_an_older_run_does_not_stand_in_for_a_damaged_one(store: ArtifactStore) -> None:
    newest = latest(store, "split")
    (store.path(newest.artifact("split")) / "result.txt").unlink()
    with pytest.raises(UserError, match=newest.name):
        latest(store, "split")
    assert latest(store, "ingest").name == newest.name


def test_verify_hashes_every_byte(store: ArtifactStore) -> None:
    assert damaged(store) == []
    artifact = latest(store, "split").artifact("split")
    path = store.path(artifact) / "result.txt"
    status = path.stat()
    path.write_text("seed 9\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # hidden from the quick check
    # The same bytes serve ingest and split in this toy, in folders of their own.
    assert damaged(store) == [artifact]


def test_gc_keeps_what_kept_runs_reach_and_nothing_else(store: ArtifactStore) -> None:
    kept = [find(store, "abc2"), find(store, "abc1")]
    (store.root / "tmp" / "123-dead").mkdir(parents=True)
    (store.root / "scratch" / "split" / "old").mkdir(parents=True)
    garbage = collect(store, keep=2)
    assert garbage.bytes > 0
    assert [run.name for run in all_runs(store)] == [run.name for run in kept]
    for run in kept:
        for record in run.stages.values():
            assert store.lookup(record.artifact.stage, record.key) == record
    assert len(list((store.root / "objects" / "split").glob("*"))) == 2 * 2  # with their .stat
    assert not list(store.root.glob("tmp/*"))
    assert not list(store.root.glob("scratch/*/*"))
    assert collect(store, keep=2).paths == ()


def test_gc_does_not_count_runs_in_which_nothing_ran(store: ArtifactStore) -> None:
    newest = find(store, "latest")
    for name in ("20260103-000000-same", "20260104-000000-same"):
        save(replace(newest, name=name), store)
    collect(store, keep=2)
    kept = ["20260104-000000-same", "20260103-000000-same", newest.name, "20260101-000000-abc1"]
    assert [run.name for run in all_runs(store)] == kept


def test_gc_keeps_every_artifact_that_one_key_led_to(store: ArtifactStore) -> None:
    """Of incomplete ones, each run has its own."""
    new, old = find(store, "abc2"), find(store, "abc1")
    record = replace(old.stages["split"], key=new.stages["split"].key)
    save(replace(old, stages={**old.stages, "split": record}), store)
    collect(store, keep=2)
    for run in (new, old):
        assert store.verify(run.artifact("split"))


def test_gc_leaves_what_a_reached_record_notes_as_kept(store: ArtifactStore) -> None:
    names = [f"recipe/{letter * 64}.parquet" for letter in "abc"]
    newest = find(store, "abc2")
    record = replace(newest.stages["split"], notes={STAGE_CACHE: names[1:]})
    save(replace(newest, stages={**newest.stages, "split": record}), store)
    folder = store.stage_cache("split")
    for name in (*names, "recipe/1-dead.part"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    collect(store, keep=1)
    left = {path for path in folder.rglob("*") if path.is_file()}
    assert left == {folder / name for name in names[1:]}


def test_gc_keeps_of_what_stages_kept_the_files_that_artifacts_hold(store: ArtifactStore) -> None:
    folder = store.stage_cache("ingest") / "public"
    folder.mkdir(parents=True)
    for name in ("aa.constant.txt", "bb.other.txt", ".9.aa.constant.txt"):
        (folder / name).touch()
    collect(store, keep=1)
    assert [path.name for path in folder.iterdir()] == ["aa.constant.txt"]


def test_gc_leaves_the_locks_that_others_than_runs_may_hold(store: ArtifactStore) -> None:
    """Whoever comes next would lock another file of that name, and hold the lock, too."""
    with store.lock("somebody"):
        garbage = collect(store, keep=1)
        held = (store.root / "locks" / "somebody.lock").stat().st_ino
    with store.lock("somebody"):
        assert (store.root / "locks" / "somebody.lock").stat().st_ino == held
    assert not list(store.root.glob("locks/*/*"))
    assert not [path for path in garbage.paths if path.startswith("locks")]  # no files of anybody


def test_gc_removes_the_half_pointer_of_a_killed_promotion(store: ArtifactStore) -> None:
    half = store.root / ".current.json.1-ab"
    half.write_text("{")
    assert half.name in collect(store, keep=1).paths
    assert not half.exists()


def test_gc_refuses_while_a_run_is_under_way(store: ArtifactStore) -> None:
    script = (
        "import sys; from pathlib import Path; from brmrs.store.artifacts import ArtifactStore\n"
        f"with ArtifactStore(Path({str(store.root)!r})).running('somebody'):\n"
        "    print('running', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    before = files(store)
    with pytest.raises(UserError, match=rf"somebody \(process {child.pid} on .* under way"):
        collect(store, keep=1)
    assert files(store) == before
    child.kill()  # the lock dies with its process
    child.wait()
    collect(store, keep=1)
    assert len(list(all_runs(store))) == 1


def test_a_run_first_sweeps_what_killed_ones_left(store: ArtifactStore) -> None:
    dead, recent, old = (store.root / name for name in ("tmp/1-ab", "scratch/x/a", "scratch/x/b"))
    for folder in (dead, recent, old):
        folder.mkdir(parents=True)
        (folder / "half").write_text("half")
    for path in (old / "half", old):
        os.utime(path, (0, 0))
    sweep(store)
    assert not dead.exists()
    assert not old.exists()
    assert (recent / "half").exists()


def test_what_cannot_be_removed_stops_no_run(
    store: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    deep = store.root / "tmp" / "deep"
    (deep / "/".join("a" * 150)).mkdir(parents=True)
    (store.root / "tmp" / "next").mkdir()
    sweep(store)
    assert "cannot be removed: folders are nested more than 100 deep" in caplog.text
    assert not (store.root / "tmp" / "next").exists()
    with pytest.raises(UserError, match="remove them by hand"):
        collect(store, keep=1)


def test_the_newest_run_stays_the_newest_when_the_clock_is_set_back(store: ArtifactStore) -> None:
    names = [new_name(store)]
    for _ in range(3):
        run = replace(make_run(store, 0), name=f"2999{names[-1][4:]}")
        save(run, store)  # made before the clock was set back by centuries
        names.append(new_name(store))
        save(replace(run, name=names[-1]), store)
        assert latest(store, "split").name == names[-1]
    assert names[1:] == sorted(names[1:])


def test_of_two_runs_one_executes_and_the_other_is_refused_or_waits(store: ArtifactStore) -> None:
    order = []

    def second() -> None:
        with store.running("second", wait=True):
            order.append("second")

    waiting = threading.Thread(target=second)
    with store.running("first"):
        with pytest.raises(UnderWayError, match="first"), store.running("other", wait=False):
            order.append("other")
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    with store.running("third", wait=False):
        pass


def test_difference_names_what_differs_and_nothing_else(store: ArtifactStore) -> None:
    old, new = find(store, "abc0"), find(store, "abc1")
    found = difference(old, new, store)
    assert found["configuration"] == {"split.seed": [0, 1]}
    assert set(found["artifacts"]) == {"ingest", "split"}
    assert found["input"] == found["code"] == found["libraries"] == found["metrics"] == {}
    assert not any(difference(old, old, store).values())


def test_from_an_artifact_back_to_the_bytes_of_the_dump(store: ArtifactStore) -> None:
    artifact = find(store, "abc1").artifact("split")
    first, second, outside = origin(artifact.digest[:20], store)
    assert (first["name"], first["reads"]) == ("split", ["ingest/result.txt"])
    assert (second["name"], second["reads"]) == ("ingest", ["reviews"])
    assert outside["name"] == "reviews"
    assert [file["name"] for file in outside["files"]] == ["reviews.json"]
    with pytest.raises(UserError, match="no run holds"):
        origin("f" * 20, store)


def test_what_was_not_there_is_no_origin(store: ArtifactStore) -> None:
    """No warm start, no benchmark that brings a split; but a model of the hub, without files."""
    run = find(store, "abc1")
    record = run.stages["split"]
    more = {"warm_start": digest_json([]), "ingest/given/split/": digest_json({})}
    more["text_model"] = digest_json("organisation/name")
    parts = {**record.parts, "input": {**record.parts["input"], **more}}
    prints = {name: {"sha256": digest, "files": []} for name, digest in more.items()}
    save(
        replace(
            run,
            stages={**run.stages, "split": replace(record, parts=parts)},
            fingerprint={**run.fingerprint, **prints},
        ),
        store,
    )
    first, *others = origin(record.artifact.digest, store)
    assert first["reads"] == ["ingest/result.txt", "text_model"]
    assert {step["name"] for step in others} == {"ingest", "text_model", "reviews"}


def test_a_dry_run_removes_nothing(store: ArtifactStore) -> None:
    before = files(store)
    wanted = collect(store, keep=1, dry_run=True)
    assert files(store) - before <= {"locks/current.lock", "locks/running.lock", "locks"}
    assert before <= files(store)
    assert collect(store, keep=1) == wanted
    assert len(wanted.paths) > 4
