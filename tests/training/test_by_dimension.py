"""Two processes that each train half of the columns, against one that trains all."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from board_artifacts import config, context, write_inputs
from by_columns import CPU, agreed, killed, refused, resumed, train_all
from torch import nn

from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.models import bundle
from brmrs.models.columns import WHOLE, Columns
from brmrs.models.initialise import xavier
from brmrs.training import by_dimension
from brmrs.training.stage import run

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
    one = train_all(WHOLE, CPU, inputs, jobs, STEPS)
    return one, by_dimension.launch(train_all, 2, 8, CPU, inputs, jobs, STEPS)


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


def test_fewer_cuda_devices_than_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"train\.processes is 2, and torch finds 1 CUDA devices"):
        by_dimension.launch(refused, 2, 8, torch.device("cuda"))


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
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs")
    values = of("lightgcn", epochs=4).model_dump(mode="json")
    found = by_dimension.launch(resumed, 2, 8, CPU, inputs, values, tmp_path)
    assert len(found["whole"]) == 4 * 3  # two losses and a validation
    assert found["continued"] == found["whole"]


@pytest.mark.slow
def test_all_processes_resume_from_the_same_epoch(tmp_path: Path) -> None:
    assert by_dimension.launch(agreed, 2, 8, CPU, tmp_path) == [-1, 1, 2, 2]


@pytest.mark.slow
def test_a_killed_process_ends_the_training_within_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match="process 2 of 2 of the training was killed by SIGKILL"):
        by_dimension.launch(killed, 2, 8, CPU, tmp_path / "file")
    assert time.monotonic() - started < 40  # most of it is the start of the processes
    for file in tmp_path.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


@pytest.mark.slow
def test_a_users_error_in_one_process_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^no vectors; give the items texts$"):
        by_dimension.launch(refused, 2, 8, CPU)
