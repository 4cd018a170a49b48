"""Two processes that each train half of the columns, against one that trains all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from board_artifacts import N_ITEMS, N_USERS, config, context, write_inputs
from by_columns import CPU, agreed, full, killed, ranks, refused, resumed, train_all
from torch import nn

from brmrs.columns import NAME, USER, USER_ID, USERS, VALUE
from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.models import bundle
from brmrs.models.columns import WHOLE, Columns
from brmrs.models.initialise import xavier
from brmrs.stages import USERS as USERS_FILE
from brmrs.system.files import write_parquet
from brmrs.training import by_dimension
from brmrs.training.learn import Inputs
from brmrs.training.member import Job, Member
from brmrs.training.shares import warn_of_other_counts
from brmrs.training.stage import CURVE_FILE, prepare, run

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 50
TERMS = {"objective": {"chns": 0.3, "synergy": 0.3}}
JOBS: dict[str, dict[str, Any]] = {
    "lightgcn": {"name": "lightgcn"},
    "br-mrs": {"name": "br-mrs"},
    "br-mrs, mean": {"name": "br-mrs", "fusion": "mean"},
    "br-mrs, attention": {"name": "br-mrs", "fusion": "attention"},
    "br-mrs, residual": {"name": "br-mrs", "fusion": "residual"},
    "br-mrs, ssc": {"name": "br-mrs", "backbone": "ssc"},
    "freedom": {"name": "freedom", **TERMS},
    "bm3": {"name": "bm3"},
    "lightgcn, sampled": {"name": "lightgcn"},
    "br-mrs, sampled": {"name": "br-mrs"},
    "freedom, sampled": {"name": "freedom", **TERMS},
}


def of(job: str, **train: Any) -> PipelineConfig:
    """The small configuration of a job."""
    if job.endswith("sampled"):
        train["sampled_neighbours"] = [3, 2]
    settings = {**config(JOBS[job]["name"], **train).model_dump(mode="json")}
    return parse({**settings, "model": {**JOBS[job], "dim": 8}}, "the test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """By job: what one process gives, and what two give."""
    inputs = write_inputs(tmp_path_factory.mktemp("board"))
    jobs = {job: of(job, clip_norm=0.05).model_dump(mode="json") for job in JOBS}
    one = train_all(Member(CPU, WHOLE, inputs), jobs, STEPS)
    return one, together(train_all, tmp_path_factory.mktemp("job"), jobs, STEPS, inputs=inputs)


def together(
    work: Any, folder: Path, *arguments: Any, inputs: Any = None, on: torch.device = CPU
) -> Any:
    """Let two processes work on 8 columns."""
    shared = None if inputs is None else by_dimension.share(inputs, folder)
    return by_dimension.launch(Job(work, 2, 8, on, arguments, shared), folder)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_two_processes_train_as_one(
    job: str, trained: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    one, two = (each[job] for each in trained)
    assert one["first"].keys() == two["first"].keys()
    for name, value in one["first"].items():
        np.testing.assert_array_equal(two["first"][name], value)
    for step, (left, right) in enumerate(zip(one["losses"], two["losses"], strict=True)):
        assert left.keys() == right.keys()
        for term, value in left.items():
            assert right[term] == pytest.approx(value, rel=1e-5, abs=1e-9), (step, term)
    for name, value in one["last"].items():
        np.testing.assert_allclose(two["last"][name], value, rtol=1e-3, atol=3e-4)
    for name, branch in one["branches"].items():
        for table, value in branch.items():
            np.testing.assert_allclose(two["branches"][name][table], value, rtol=1e-3, atol=3e-4)


@pytest.mark.slow
def test_each_process_holds_half_and_sends_scores_only(
    trained: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    one, two = (each["lightgcn"] for each in trained)
    assert two["held"] == [one["held"][0] // 2] * 2
    rows = (5 * 520 + 5 * 64) / STEPS  # of a batch; an epoch has 520, in 9 batches
    # Two scores each, the L2 term, and the norm of the gradient, as it is clipped.
    assert two["sent"] == pytest.approx(4 * (2 * rows + 1 + 1))
    assert one["sent"] == 0


def test_columns_are_shares_of_every_channel() -> None:
    table = torch.arange(24.0).reshape(2, 12)  # two channels of 6 columns
    parts = [Columns(worker, 3, 6).part(table) for worker in range(3)]
    assert parts[1][0].tolist() == [2, 3, 8, 9]
    assert torch.equal(Columns(0, 3, 6).joined(parts), table)


def test_a_seed_draws_the_usual_values_in_blocks() -> None:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    usual = nn.init.xavier_uniform_(torch.empty(40_000, 48), generator=generator())
    assert torch.equal(xavier(40_000, 48, generator()), usual)
    half = xavier(40_000, 48, generator(), Columns(1, 2, 24))
    assert torch.equal(half, usual[:, [*range(12, 24), *range(36, 48)]])


@pytest.mark.parametrize(
    ("model", "processes", "line"),
    [
        ({"name": "bpr-mf"}, 2, "model bpr-mf trains in one process only; set train.processes=1"),
        ({"name": "ease"}, 2, "model ease trains in one process only; set train.processes=1"),
        ({"name": "lightgcn", "dim": 8}, 3, "3 does not divide model.dim, 8"),
        ({"name": "lightgcn", "dim": 8}, 16, "16 does not divide model.dim, 8"),
        (
            {"name": "br-mrs", "fusion": "joint"},
            2,
            "model br-mrs fusion=joint trains in one process only; set train.processes=1",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_with_the_configuration(
    model: dict[str, Any], processes: int, line: str
) -> None:
    with pytest.raises(UserError, match=line):
        parse({"model": model, "train": {"processes": processes}}, "the test")


def test_fewer_cuda_devices_than_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"train\.processes is 2, and torch finds 1 CUDA devices"):
        together(refused, tmp_path, on=torch.device("cuda"))


def test_the_number_of_processes_is_not_in_the_key() -> None:
    assert config("lightgcn", processes=2).train.key() == config("lightgcn").train.key()


@pytest.mark.slow
def test_the_stage_leaves_an_ordinary_bundle(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    inputs = write_inputs(tmp_path / "inputs")
    made = {}
    for name, processes in (("one", 1), ("two", 2)):
        stage = context(inputs, tmp_path / name, of("br-mrs", epochs=4, processes=processes))
        run(stage)
        made[name] = bundle.load(stage.out)
        assert ("sent_bytes_per_step" in stage.notes) == (processes == 2)
    one, two = made["one"], made["two"]
    assert two.about.validation == pytest.approx(one.about.validation)
    assert two.state.keys() == one.state.keys()
    users = torch.arange(5)
    for name, branch in one.branches.items():
        torch.testing.assert_close(
            two.branches[name].scores(users), branch.scores(users), rtol=1e-3, atol=1e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lightgcn", "br-mrs"])
def test_a_warm_start_that_stops_early_is_that_of_one_process(model: str, tmp_path: Path) -> None:
    """Five users of the new data are not in the bundle."""
    first = context(write_inputs(tmp_path / "inputs"), tmp_path / "first", of(model, epochs=3))
    run(first)
    ids = [f"{'new' if user < 5 else 'U'}{user:03}" for user in range(N_USERS)]
    write_parquet(first.inputs[USERS_FILE], USERS, {USER: range(N_USERS), USER_ID: ids})
    made, curves = {}, {}
    for processes in (1, 2):
        warm = {"warm_start": first.out, "epochs": 60, "patience": 4, "processes": processes}
        later = context(dict(first.inputs), tmp_path / str(processes), of(model, **warm))
        run(later)
        made[processes] = bundle.load(later.out).about
        curves[processes] = pq.read_table(later.out / CURVE_FILE).to_pylist()
    assert made[2].warm_start == made[1].warm_start
    assert made[1].warm_start is not None
    assert (made[1].warm_start.users, made[1].warm_start.items) == (N_USERS - 5, N_ITEMS)
    assert made[2].best_epoch == made[1].best_epoch < len(curves[1])
    assert made[2].validation == made[1].validation
    assert [row[NAME] for row in curves[2]] == [row[NAME] for row in curves[1]]
    for one, two in zip(curves[1], curves[2], strict=True):
        assert two[VALUE] == pytest.approx(one[VALUE], rel=1e-5), one


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_training_leaves_no_process_and_continues(
    number: int, tmp_path: Path
) -> None:
    for folder in ("pids", "temporary"):
        (tmp_path / folder).mkdir()
    write_inputs(tmp_path / "inputs")
    child = started(tmp_path, 60)
    limit = time.monotonic() + 120
    while not list((tmp_path / "scratch").glob("share-*.3.pt")) and time.monotonic() < limit:
        time.sleep(0.01)
    child.send_signal(number)
    assert child.wait(timeout=60) != 0
    pids = [int(path.read_text()) for path in (tmp_path / "pids").iterdir()]
    limit = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not [pid for pid in pids if alive(pid)]
    assert len(pids) == 2
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "scratch" / "inputs").exists()
    again = started(tmp_path, 60)
    assert again.wait(timeout=200) == 0
    assert "training continues after epoch" in (tmp_path / "log").read_text()
    left = {path.name.split(".")[0] for path in (tmp_path / "scratch").iterdir()}
    assert left == {"share-0-of-2", "share-1-of-2"}


def started(root: Path, epochs: int) -> "subprocess.Popen[bytes]":
    """The stage in a process of its own, with a checkpoint after each epoch."""
    here = Path(__file__).parents[1]
    variables = {
        "PYTHONPATH": os.pathsep.join([str(here / "helpers"), str(here.parent)]),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(root / "temporary"),
    }
    return subprocess.Popen(
        [sys.executable, here / "helpers" / "train_together.py", root, str(epochs)],
        env={**os.environ, **variables},
    )


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_another_number_of_processes_starts_anew_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "share-0-of-4.7.pt").touch()
    warn_of_other_counts(tmp_path, 4)
    assert caplog.text == ""
    warn_of_other_counts(tmp_path, 2)
    assert "train.processes=4, and now it is 2, so training starts anew" in caplog.text


@pytest.mark.slow
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path: Path) -> None:
    settings = of("lightgcn", epochs=4)
    ready = prepare(write_inputs(tmp_path / "inputs"), settings)
    inputs = Inputs(ready.train, ready.validation, ready.data)
    found = together(resumed, tmp_path, settings.model_dump(mode="json"), inputs=inputs)
    assert len(found["whole"]) == 4 * 3  # two losses and a validation
    assert found["continued"] == found["whole"]


@pytest.mark.slow
def test_all_processes_resume_from_the_same_epoch(tmp_path: Path) -> None:
    assert together(agreed, tmp_path, tmp_path) == [-1, 1, 2, 2]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["share-0-of-2.4.pt", "share-1-of-2.4.pt"]


@pytest.mark.parametrize("name", ["artifacts", "a b#c?d%20"])
def test_the_processes_meet_in_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for ever in a relative folder, such as that of the default artifact store."""
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert together(ranks, Path(name)) == [0, 1]


@pytest.mark.slow
def test_a_killed_process_ends_the_training_within_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match="process 2 of 2 of the training was killed by SIGKILL"):
        together(killed, tmp_path, tmp_path)
    assert time.monotonic() - started < 40  # most of it is the start of the processes
    for file in tmp_path.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "line"),
    [
        (refused, r"^no vectors; give the items texts$"),
        (full, r"^share.pt: No space left on device; free space and run again$"),
    ],
)
def test_a_users_error_in_one_process_is_one_line(work: Any, line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line):
        together(work, tmp_path)
    assert list(tmp_path.iterdir()) == []
