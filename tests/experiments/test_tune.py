"""The search on a checkerboard: what a trial is, what ends it, what a kill costs."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from board_artifacts import config, context, write_inputs
from optuna.pruners import MedianPruner

from brmrs.config.load import load, parse
from brmrs.config.models import names as model_names
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.experiments import tune, tuned_file
from brmrs.experiments.search_spaces import space
from brmrs.experiments.study_file import open_study
from brmrs.experiments.tune import finished, rows, search, winner, with_values
from brmrs.serving.housekeeping import collect
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.locks import UnderWayError
from brmrs.store.records import Record
from brmrs.store.runs import Run
from brmrs.training import stage as train
from brmrs.training.stage import prepare

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIGS = Path(__file__).parents[2] / "configs" / "models"
SETTINGS = config("bpr-mf", epochs=8, learning_rate=0.01)


def searched(root: Path, trials: int, settings: PipelineConfig = SETTINGS) -> optuna.Study:
    """Search on the board's artifacts in `root`, with a pruner that judges early."""
    pruner = MedianPruner(n_startup_trials=1, n_warmup_steps=4)
    study = open_study(root / "studies.db", "board", pruner)
    inputs = {path.name: path for path in root.glob("*") if path.is_dir()}
    inputs |= {f"{name}/{file.name}": file for name in inputs for file in inputs[name].iterdir()}
    search(study, settings, prepare(inputs, settings), trials, space(settings.model))
    return study


def told(study: optuna.Study) -> list[dict[str, Any]]:
    """The finished trials without their numbers, which count killed ones, too."""
    return [{**row, "number": None} for row in rows(finished(study))]


@pytest.fixture
def board(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


def test_the_first_trial_is_as_configured_and_the_best_one_wins(board: Path) -> None:
    study = searched(board, 6)
    found = rows(finished(study))
    assert found[0]["parameters"] == {
        "model.regularization": 1e-4,
        "train.learning_rate": 0.01,
    }
    assert {row["state"] for row in found} == {"complete", "pruned"}
    assert all(row["epochs"] < 8 for row in found if row["state"] == "pruned")
    complete = [row["value"] for row in found if row["state"] == "complete"]
    assert winner(study).value == max(complete)
    # Called again it makes no trial; asked for one more, it makes one more.
    before = told(study)
    assert told(searched(board, 6)) == before
    assert told(searched(board, 7))[:6] == before
    assert len(told(study)) == 7


def test_epochs_are_told_where_not_every_one_is_validated(board: Path) -> None:
    settings = config("bpr-mf", epochs=8, learning_rate=0.01, validate_every=3)
    trial = finished(searched(board, 1, settings))[0]
    assert list(trial.intermediate_values) == [3, 6, 8]
    assert rows([trial])[0]["epochs"] == 8


def test_an_objective_is_searched_by_the_terms_it_has() -> None:
    plain, chns = (
        space(parse({"model": {"name": "lattice", "objective": weights}}, "x").model)
        for weights in ({}, {"chns": 0.3})
    )
    assert not any("objective" in path for path in plain)
    assert {path for path in chns if "objective" in path} == {
        "model.objective.chns",
        "model.objective.pool",
    }


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from brmrs.experiments import tune
import test_tune
torch.set_num_threads(1)
prepare, calls = test_tune.prepare, []

def prepared(*arguments):
    ready = prepare(*arguments)
    select = ready.select
    def counted(branch):
        calls.append(branch)
        if len(calls) == 12:  # in the second trial
            os.kill(os.getpid(), signal.SIGKILL)
        return select(branch)
    object.__setattr__(ready, "select", counted)
    return ready

test_tune.prepare = prepared
test_tune.searched(Path(sys.argv[1]), 3)
"""


def test_a_killed_search_goes_on_as_if_nothing_had_happened(board: Path, tmp_path: Path) -> None:
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, [here, here.parent / "helpers", here.parents[1]]))
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(board)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=200,
    )
    assert child.returncode == -signal.SIGKILL
    resumed = searched(board, 3)
    assert [each.state.name for each in resumed.trials].count("FAIL") == 1
    calm = tmp_path / "calm"
    calm.mkdir()
    write_inputs(calm)
    assert told(resumed) == told(searched(calm, 3))


def test_a_trial_that_diverges_is_told_and_the_search_goes_on(board: Path) -> None:
    wild = config("bpr-mf", epochs=2, learning_rate=1e30)
    study = searched(board, 1, wild)
    with pytest.raises(UserError, match="every trial diverged: training diverged"):
        winner(study)
    study = searched(board, 2, wild)
    assert [row["state"] for row in rows(finished(study))] == ["diverged", "complete"]
    assert winner(study).number == 1


def test_the_winner_is_what_was_searched_and_the_model_it_was_searched_for(tmp_path: Path) -> None:
    # A searched field at its default is a choice, too; dim is 8 here, and is not searched.
    found = {"model.regularization": 1e-4, "train.learning_rate": 0.002}
    file = tmp_path / "tuned" / "toys" / "bpr-mf.yaml"
    tuned_file.write(file, with_values(SETTINGS, found), found, ["why"])
    assert file.read_text() == (
        "# why\nmodel:\n  name: bpr-mf\n  dim: 8\n  regularization: 0.0001\n"
        "train:\n  learning_rate: 0.002\n"
    )
    base = tmp_path / "base.yaml"
    base.write_text("model: {name: lightgcn, layers: 2}\ntrain: {epochs: 3, learning_rate: 0.5}")
    laid = load(base, over=(file,))
    assert laid.model == with_values(SETTINGS, found).model
    assert (laid.train.epochs, laid.train.learning_rate) == (3, 0.002)


def test_trials_start_from_the_bundle_that_training_would_start_from(board: Path) -> None:
    first = context(write_inputs(board / "earlier"), board / "earlier", config(epochs=20))
    train.run(first)
    after_one = {}
    for name, folder in (("cold", None), ("warm", first.out)):
        settings = config(epochs=1, warm_start=folder)
        (board / name).mkdir()
        write_inputs(board / name)
        after_one[name] = winner(searched(board / name, 1, settings)).value or 0.0
    assert after_one["warm"] > after_one["cold"] + 0.2


def stored(board: Path) -> tuple[Run, ArtifactStore]:
    """The board's artifacts as those of a run."""
    store = ArtifactStore(board / "artifacts")
    records = {}
    for name in tune.training(SETTINGS).upstream:
        with store.writing(name) as out:
            shutil.copytree(board / name, out, dirs_exist_ok=True)
            records[name] = Record("0" * 64, {}, store.commit(out, name), "one", 0.0)
    return Run("one", {}, {}, records, 0.0, {}), store


def test_a_search_holds_the_store(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = stored(board)

    def clean_up_instead(*_: object) -> None:
        with pytest.raises(UnderWayError, match=r"dataset, tune \(process"):
            collect(store, keep=1)
        raise InterruptedError

    monkeypatch.setattr(tune, "search", clean_up_instead)
    with pytest.raises(InterruptedError):
        tune.tune(SETTINGS, run, store, 1)
    refusing = SETTINGS.model_copy(update={"concurrency": "refuse"})
    with store.running("a run"), pytest.raises(UnderWayError, match="a run"):
        tune.tune(refusing, run, store, 1)
    collect(store, keep=1)  # no manifest of the run: all its artifacts go
    with pytest.raises(UserError, match="of run one is missing or damaged"):
        tune.tune(SETTINGS, run, store, 1)


@pytest.mark.parametrize("name", model_names())
def test_both_ends_of_every_range_are_valid(name: str) -> None:
    base = PipelineConfig.model_validate({"model": name})
    if name == "most-popular":
        with pytest.raises(UserError, match="nothing to tune"):
            space(base.model)
        return
    ranges: Any = space(base.model)
    for end in ("low", "high"):
        values = {path: getattr(each, end) for path, each in ranges.items()}
        assert with_values(base, values).section(next(iter(values))) is not None
    on_baby = base.model_copy(update={"model": load(CONFIGS / f"{name}.yaml").model})
    for path, each in ranges.items():
        assert each.low <= base.section(path) <= each.high, path
        assert each.low <= on_baby.section(path) <= each.high, path


def test_what_is_switched_off_stays_off(board: Path) -> None:
    """The first trial is as configured, and 0 has no place in a logarithmic range."""
    bare = SETTINGS.model_copy(
        update={"model": SETTINGS.model.model_copy(update={"regularization": 0.0})}
    )
    found = rows(finished(searched(board, 2, bare)))
    assert all(set(row["parameters"]) == {"train.learning_rate"} for row in found)
