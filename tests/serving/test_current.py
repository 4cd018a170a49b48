"""The pointer to the served run, and its history."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from toy_dump import dump

from brmrs.errors import UserError
from brmrs.service.served import Choice
from brmrs.serving.current import (
    LOCK,
    NEEDED,
    Verdict,
    conclude,
    of_data_set,
    promote,
    read,
    resolve,
    roll_back,
    serving,
)
from brmrs.serving.housekeeping import collect
from brmrs.stages import Stage
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.runs import DIAGNOSIS, Run, all_runs, find, reached, save, sound
from flows.cli.chosen import chosen

CONTENTS = {"reviews": ["ab"], "metadata": []}
YES, NO = Verdict(True, "good"), Verdict(False, "worse", {"difference": -1.0})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """Four runs, `run0` to `run3`, each with artifacts of its own."""
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    store = ArtifactStore(tmp_path / "artifacts")
    for seed in range(4):
        config, prints = dump(tmp_path, seed=seed)
        stages = {
            name: execute(
                Stage(name, "toy_stage", config=("split",), external=("reviews",)),
                config,
                prints,
                {},
                store,
                f"run{seed}",
            )
            for name in ("ingest", "train", "publish")
        }
        values = config.model_dump(mode="json")
        save(Run(f"run{seed}", values, prints, stages, 1.0, {}), store)
    return store


def test_before_any_promotion_the_latest_run_is_served(store: ArtifactStore) -> None:
    assert serving(store).name == "run3"
    assert read(store).history == ()
    assert of_data_set(store, "whatever") is None
    with pytest.raises(UserError, match="no earlier promoted run"):
        roll_back(store)


def test_promoted_turned_down_and_rolled_back(store: ArtifactStore) -> None:
    conclude(store, find(store, "run0"), YES, CONTENTS)
    conclude(store, find(store, "run1"), YES, {**CONTENTS, "reviews": ["cd"]})
    conclude(store, find(store, "run2"), NO, {**CONTENTS, "reviews": ["ef"]})
    assert serving(store).name == "run1"
    assert read(store).trained_on("dataset") == {"reviews": ["ef"], "metadata": []}
    assert read(store).digests("dataset") == {"ab", "cd", "ef"}
    assert roll_back(store).name == "run0"
    assert serving(store).name == "run0"
    assert read(store).trained_on("dataset") == {"reviews": ["ef"], "metadata": []}, (
        "the schedule rests"
    )
    with pytest.raises(UserError, match="no earlier"):
        roll_back(store)
    conclude(store, find(store, "run3"), YES, CONTENTS)
    assert read(store).served == {"dataset": ("run0", "run3")}, (
        "what was rolled back does not come again"
    )
    history = [(past.action, past.run) for past in read(store).history]
    assert history == [
        ("promoted", "run0"),
        ("promoted", "run1"),
        ("not promoted", "run2"),
        ("rolled back", "run0"),
        ("promoted", "run3"),
    ]


def test_a_model_that_is_gone_is_not_served_in_silence(store: ArtifactStore) -> None:
    conclude(store, find(store, "run0"), YES, CONTENTS)
    conclude(store, find(store, "run1"), YES, CONTENTS)
    first = next(run for run in all_runs(store) if run.name == "run0")
    (store.path(first.artifact("train")) / "result.txt").unlink()
    with pytest.raises(UserError, match="run0 is missing or damaged"):
        roll_back(store)
    assert serving(store).name == "run1"


def test_each_data_set_has_a_served_run_of_its_own(store: ArtifactStore) -> None:
    conclude(store, find(store, "run0"), YES, CONTENTS)
    served = of_data_set(store, "dataset")
    assert served is not None
    assert served.name == "run0"
    assert of_data_set(store, "other") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"served": []}', '{"served": 1, "history": []}'])
def test_a_damaged_file_is_told(store: ArtifactStore, text: str) -> None:
    (store.root / "current.json").write_text(text)
    with pytest.raises(UserError, match=r"current\.json"):
        read(store)


def test_gc_keeps_the_served_run_and_the_one_before(store: ArtifactStore) -> None:
    conclude(store, find(store, "run0"), YES, CONTENTS)
    conclude(store, find(store, "run1"), YES, CONTENTS)
    conclude(store, find(store, "run2"), YES, CONTENTS)
    collect(store, keep=1)
    assert [run.name for run in all_runs(store)] == ["run3", "run2", "run1"]
    assert serving(store).name == "run2"
    assert roll_back(store).name == "run1"


# Promotes and rolls back for ever; each line tells the state that the next one follows.
CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
from brmrs.store.artifacts import ArtifactStore
from brmrs.serving.current import Verdict, conclude, roll_back
from brmrs.store.runs import find
store = ArtifactStore(Path(sys.argv[1]))
run = find(store, "run1")
while True:
    conclude(store, run, Verdict(True, "x" * 10_000), {"reviews": ["ab"], "metadata": []})
    roll_back(store)
"""


def test_sigkill_between_the_writes_leaves_a_whole_pointer(store: ArtifactStore) -> None:
    conclude(store, find(store, "run0"), YES, CONTENTS)
    for round_ in range(6):
        (store.root / "current.json").write_text(
            json.dumps({"served": {"dataset": ["run0"]}, "history": []}), encoding="utf-8"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(store.root)], cwd=Path(__file__).parents[2]
        )
        deadline = time.monotonic() + 60
        while len(read(store).history) < 3 + round_:  # it is at work
            assert child.poll() is None
            assert time.monotonic() < deadline
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        found = read(store)
        served = found.served["dataset"]
        assert served in (("run0",), ("run0", "run1"))
        last = found.history[-1].action
        assert last == ("promoted" if len(served) == 2 else "rolled back")
        assert serving(store).name == served[-1]
    conclude(store, find(store, "run2"), YES, CONTENTS)  # no lock is left behind
    assert serving(store).name == "run2"


def test_a_rolled_back_run_is_promoted_again(store: ArtifactStore) -> None:
    for name in ("run0", "run1"):
        conclude(store, find(store, name), YES, CONTENTS)
    roll_back(store)
    promote(store, "run1")
    assert serving(store).name == "run1"
    assert read(store).history[-1].state == "by hand"
    assert roll_back(store).name == "run0"


def test_a_run_that_is_collected_while_promote_waits_is_not_served(store: ArtifactStore) -> None:
    """Garbage collection holds the lock; whatever `promote` saw before does not count."""
    conclude(store, find(store, "run3"), YES, CONTENTS)
    with ThreadPoolExecutor(1) as pool:
        with store.lock(LOCK):
            promotion = pool.submit(promote, store, "run0")
            with pytest.raises(TimeoutError):
                promotion.result(timeout=0.3)
            store.discard(store.path(find(store, "run0").artifact("train")))
        with pytest.raises(UserError, match="train of run run0 is missing or damaged"):
            promotion.result(timeout=20)
    assert read(store).served == {"dataset": ("run3",)}


def test_aliases_name_runs(store: ArtifactStore) -> None:
    for alias in ("served", "previous"):
        with pytest.raises(UserError, match="brmrs current"):
            resolve(store, alias)
    for name in ("run0", "run1"):
        conclude(store, find(store, name), YES, CONTENTS)
    names = {"served": "run1", "previous": "run0", "latest": "run3", "n2": "run2"}
    assert {alias: resolve(store, alias).name for alias in names} == names
    assert resolve(store, "previous@dataset").name == "run0"


def benchmarked(store: ArtifactStore, name: str = "run4") -> Run:
    """A newer run that `brmrs benchmark` left, which publishes nothing."""
    base = find(store, "run3")
    stages = {stage: base.stages[stage] for stage in NEEDED}
    run = replace(base, name=name, kind="benchmark", stages=stages)
    save(run, store)
    return run


def test_latest_is_the_newest_run_that_the_command_can_use(
    store: ArtifactStore, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarked(store)
    benchmarked(store, "run5")
    save(replace(find(store, "run3"), name="run6", kind=DIAGNOSIS), store)
    assert resolve(store, "latest").name == "run5"
    assert resolve(store, "latest", "publish").name == serving(store).name == "run3"
    assert Choice(store, "latest").resolve().name == "run3"
    assert chosen(store, "run4", "publish").name == "run4"
    assert chosen(store, "latest", "train").name == "run5"
    assert capsys.readouterr().err == ""
    assert chosen(store, "latest", "publish").name == "run3"
    told = "latest: run run3; 2 newer runs have no publish stage (2 benchmark)\n"
    assert capsys.readouterr().err == told
    assert promote(store, "latest").name == "run3"
    with pytest.raises(UserError, match=r"no finished run under .* with the stage report; run"):
        resolve(store, "latest", "report")


def test_a_run_without_a_stage_is_told_with_its_kind_and_another_run(store: ArtifactStore) -> None:
    run = benchmarked(store)
    told = (
        "run run4 is a benchmark run and has no publish stage; the newest run of dataset that has "
        "it is run3"
    )
    with pytest.raises(UserError, match=f"^{told}$"):
        sound(run, store, "publish")
    with pytest.raises(UserError, match=f"^{told}: brmrs publish run3$"):
        reached(run, store, "train", "publish", command="brmrs publish")
    with pytest.raises(UserError, match="no report stage; run `brmrs run -c FILE`"):
        reached(run, store, "report")
    assert reached(run, store, "train") == run


def test_of_several_data_sets_one_is_chosen(store: ArtifactStore) -> None:
    other = find(store, "run1")
    save(replace(other, name="run9", config={**other.config, "name": "other"}), store)
    with pytest.raises(UserError, match=r"several data sets \(dataset, other\); choose by --data"):
        serving(store)
    assert serving(store, "other").name == "run9"
    assert serving(store, "dataset").name == "run3"
    conclude(store, find(store, "run9"), YES, CONTENTS)
    conclude(store, find(store, "run0"), YES, CONTENTS)
    assert (serving(store, "other").name, serving(store, "dataset").name) == ("run9", "run0")
    with pytest.raises(UserError, match="choose by --data"):
        roll_back(store)
    with pytest.raises(UserError, match="no finished run of nobody"):
        serving(store, "nobody")
