"""Trainings that update only the rows of a step, against dense ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from board_artifacts import config, write_inputs
from torch import Tensor, nn

from brmrs.config.learning import TrainConfig
from brmrs.errors import UserError
from brmrs.models.base import Branch, Scorer
from brmrs.models.registry import build
from brmrs.system.checkpoint import InFile
from brmrs.training import trainer
from brmrs.training.divergence import DivergenceError
from brmrs.training.optimiser import Optimiser
from brmrs.training.stage import prepare
from brmrs.training.trainer import History, fit

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = ([0, 2], [2, 3], [1], [0, 3])  # the rows that a step reads


def table() -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    return nn.Parameter(torch.randn(5, 3, generator=generator))


def loss(rows: list[int], parameter: Tensor, *, sparse: bool) -> Tensor:
    read = torch.nn.functional.embedding(torch.tensor(rows * 2), parameter, sparse=sparse)
    return (read - torch.arange(3.0)).square().sum()  # each row is read twice


def test_the_rows_of_a_step_move_as_in_sparse_adam_and_no_others_do() -> None:
    ours, theirs = table(), table()
    optimiser = Optimiser([ours], TrainConfig(learning_rate=0.01), 4, by_row=[ours])
    adam = torch.optim.SparseAdam([theirs], lr=0.01)
    for rows in STEPS:
        before = ours.detach().clone()
        optimiser.step(loss(rows, ours, sparse=True))
        adam.zero_grad()
        torch.autograd.backward(loss(rows, theirs, sparse=True))
        adam.step()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
        moved = (ours != before).any(dim=1).nonzero().flatten().tolist()
        assert moved == rows


def test_steps_that_read_all_rows_are_adams() -> None:
    ours, theirs = table(), table()
    optimisers = [
        Optimiser([ours], TrainConfig(learning_rate=0.01, clip_norm=1.0), 4, by_row=[ours]),
        Optimiser([theirs], TrainConfig(learning_rate=0.01, clip_norm=1.0), 4),
    ]
    for _ in range(20):
        optimisers[0].step(loss([*range(5)], ours, sparse=True))
        optimisers[1].step(loss([*range(5)], theirs, sparse=False))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_norm_is_of_sparse_and_dense_gradients_together() -> None:
    rows, dense = nn.Parameter(torch.zeros(4, 1)), nn.Parameter(torch.zeros(1))
    optimiser = Optimiser([rows, dense], TrainConfig(clip_norm=1.0), 1, by_row=[rows])
    read = torch.nn.functional.embedding(torch.tensor([1, 1]), rows, sparse=True)
    optimiser.step(1.5 * read.sum() + 4 * dense.sum())
    assert rows.grad is not None
    assert dense.grad is not None
    clipped = rows.grad.to_dense()[1].item(), dense.grad.item()
    assert clipped == pytest.approx((0.6, 0.8), abs=1e-5)


def test_the_average_of_a_row_counts_the_steps_that_did_not_read_it() -> None:
    parameter = table()
    settings = TrainConfig(learning_rate=0.1, average=0.8)
    optimiser = Optimiser([parameter], settings, 4, by_row=[parameter])
    expected: Tensor | None = None
    for number, rows in enumerate(STEPS):
        optimiser.step(loss(rows, parameter, sparse=True))
        own = parameter.detach().clone()
        expected = own if expected is None else 0.8 * expected + 0.2 * own
        if number == 1:  # looking at the average changes nothing
            with optimiser.averaged():
                torch.testing.assert_close(parameter.detach(), expected)
            assert torch.equal(parameter, own)
    with optimiser.averaged():
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_inputs(tmp_path_factory.mktemp("board"))


def train(
    inputs: dict[str, Path],
    model: str,
    file: Path | None = None,
    stop: int = 10**9,
    **options: Any,
) -> tuple[dict[str, Tensor], History]:
    """The parameters and the history; `stop`: validations before an interruption."""
    settings = {"sampled_neighbours": [3, 2], "epochs": 6, "batch_size": 64, **options}
    configured = config(model, **settings)
    ready = prepare(inputs, configured)
    made = build(configured.model, ready.data, configured.train.seed)
    calls: list[float] = []

    def select(branch: Scorer) -> float:
        assert isinstance(branch, Branch)
        calls.append(branch.p.square().sum().item())
        if len(calls) > stop:
            raise KeyboardInterrupt
        return calls[-1]

    history = fit(made, ready.train, select, configured.train, InFile(file) if file else None)
    return made.state_dict(), history


@pytest.mark.parametrize("model", ["lightgcn", "br-mrs"])
@pytest.mark.parametrize(
    "options",
    [{}, {"clip_norm": 0.05, "schedule": "cosine", "warmup": 2, "average": 0.9}],
    ids=["plain", "options"],
)
def test_an_interrupted_training_goes_on_to_the_same_bytes(
    inputs: dict[str, Path],
    model: str,
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole, history = train(inputs, model, **options)
    for stop in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(inputs, model, tmp_path / "c.pt", stop, **options)
    found, continued = train(inputs, model, tmp_path / "c.pt", **options)
    assert continued.curve == history.curve
    assert all(torch.equal(found[name], value) for name, value in whole.items())


def test_the_numbers_of_neighbours_shape_the_result(inputs: dict[str, Path]) -> None:
    one, other, whole = (
        train(inputs, "lightgcn", sampled_neighbours=sizes, epochs=2)[0]
        for sizes in ([3, 2], [2, 3], None)
    )
    assert not torch.equal(one["users"], other["users"])
    assert not torch.equal(one["users"], whole["users"])
    keys = [config("lightgcn", sampled_neighbours=sizes).train.key() for sizes in ([3], None)]
    assert keys[0] != keys[1]


def test_a_divergence_is_found_in_sparse_gradients(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"epoch 1 of .* batch"):
        train(inputs, "lightgcn", tmp_path / "c.pt", learning_rate=1e30)


@pytest.mark.parametrize(
    ("model", "sizes", "line"),
    [
        ("bpr-mf", [3], "model bpr-mf uses the whole graph in each step; set it to null"),
        ("lightgcn", [3, 3, 3, 3], "4 numbers, and model lightgcn has 3 layers"),
        ("br-mrs", [3, 3, 3, 3], "4 numbers, and model br-mrs has 3 layers"),
        ("lightgcn", [], "at least 1"),
        ("lightgcn", [0], "greater than 0"),
    ],
)
def test_what_cannot_be_sampled_is_refused_at_the_start(
    model: str, sizes: list[int], line: str
) -> None:
    with pytest.raises(UserError, match=line):
        config(model, sampled_neighbours=sizes)
