"""The search on a checkerboard: what a trial is, what ends it, what a kill costs."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from board_artifacts import config, write_inputs
from optuna.pruners import MedianPruner

from brmrs.config import PipelineConfig
from brmrs.config_file import load
from brmrs.errors import UserError
from brmrs.models import registry
from brmrs.training import tuned_file
from brmrs.training.search_spaces import space
from brmrs.training.train import prepare
from brmrs.training.tune import finished, open_study, rows, search, winner, with_values

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIGS = Path(__file__).parents[2] / "configs" / "models"
SETTINGS = config("bpr-mf", epochs=8, learning_rate=0.01)


def searched(root: Path, trials: int, settings: PipelineConfig = SETTINGS) -> optuna.Study:
    """Search on the board's artifacts in `root`, with a pruner that judges early."""
    study = open_study(root / "studies.db", "board")
    study.pruner = MedianPruner(n_startup_trials=1, n_warmup_steps=4)
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


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from brmrs.training import tune
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
    path = os.pathsep.join(map(str, [here, here.parent, here.parents[1]]))
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
    with pytest.raises(UserError, match="no trial came to a result: training diverged"):
        winner(study)
    study = searched(board, 2, wild)
    assert [row["state"] for row in rows(finished(study))] == ["diverged", "complete"]
    assert winner(study).number == 1


def test_the_winner_is_laid_over_a_base_as_it_is(tmp_path: Path) -> None:
    best = with_values(SETTINGS, {"model.regularization": 0.5, "train.learning_rate": 0.002})
    file = tmp_path / "tuned" / "toys" / "bpr-mf.yaml"
    tuned_file.write(file, best, ["why"])
    assert file.read_text().startswith("# why\nmodel:\n  name: bpr-mf\n")
    read = load(file)
    assert read.model_fields_set == {"model", "train"}
    assert "seed" not in read.train.model_fields_set
    laid = config("lightgcn", seed=3).overlaid({"model": read.model, "train": read.train})
    assert laid.model == best.model
    assert laid.train.model_dump() == {**best.train.model_dump(), "seed": 3}


@pytest.mark.parametrize("name", registry.RECOMMENDERS)
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
    on_baby = base.overlaid({"model": load(CONFIGS / f"{name}.yaml").model})
    for path, each in ranges.items():
        assert each.low <= base.section(path) <= each.high, path
        assert each.low <= on_baby.section(path) <= each.high, path


def test_what_is_switched_off_stays_off(board: Path) -> None:
    """The first trial is as configured, and 0 has no place in a logarithmic range."""
    bare = SETTINGS.overlaid({"model": SETTINGS.model.model_copy(update={"regularization": 0.0})})
    found = rows(finished(searched(board, 2, bare)))
    assert all(set(row["parameters"]) == {"train.learning_rate"} for row in found)
