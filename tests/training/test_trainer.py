import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brmrs.config.learning import TrainConfig
from brmrs.errors import UserError
from brmrs.graphs import bipartite
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Batch, Branch, Recommender, Scorer, TrainingData
from brmrs.models.bpr_mf import BPRMF
from brmrs.system import checkpoint, progress
from brmrs.system.checkpoint import InFile
from brmrs.training import trainer
from brmrs.training.divergence import DivergenceError
from brmrs.training.optimiser import Optimiser
from brmrs.training.selection import selector
from brmrs.training.stage import device
from brmrs.training.trainer import History, fit

pytestmark = pytest.mark.usefixtures("one_thread")


def random_train(users: int, items: int, count: int) -> UserItems:
    generator = torch.Generator().manual_seed(0)
    ends = [torch.randint(0, size, (count,), generator=generator) for size in (users, items)]
    return UserItems.from_pairs(ends[0], ends[1], users, items)


TRAIN = random_train(50, 40, 600)


def data(train: UserItems) -> TrainingData:
    graph = bipartite.normalised(train.users, train.items, train.n_users, train.n_items)
    return TrainingData(train.n_users, train.n_items, train.users, train.items, graph)


class Toy(Recommender):
    """One parameter that counts its steps; a scripted loss term may go wrong."""

    n_negatives = 1

    def __init__(self, fail_at: int | None = None, fault: float = float("nan")):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.step, self.fail_at, self.fault = 0, fail_at, fault
        self.noise: list[float] = []

    def begin_epoch(self, generator: torch.Generator) -> None:
        self.noise.append(float(torch.rand(1, generator=generator)))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        self.step += 1
        self.noise.append(float(torch.rand(1, generator=generator)))
        bad = self.fault if self.step == self.fail_at else 1.0
        return {
            "good": (self.weight - 1).square().sum(),
            "bad": self.weight.detach().sum() * 0 + bad,
        }

    def branches(self) -> dict[str, Branch]:
        return {"fused": Branch(self.weight.expand(50, 1), torch.ones(40, 1))}


class Script:
    """A selection metric that takes given values, one an epoch."""

    def __init__(self, *values: float):
        self.values = list(values)
        self.seen: list[float] = []

    def __call__(self, branch: Scorer) -> float:
        assert isinstance(branch, Branch)
        self.seen.append(branch.p[0, 0].item())
        return self.values[len(self.seen) - 1]


def test_stops_after_patience_and_keeps_the_best_epoch() -> None:
    model, script = Toy(), Script(0.1, 0.3, 0.2, 0.3, 0.25, 0.9)
    history = fit(model, TRAIN, script, TrainConfig(patience=3, batch_size=100))
    assert (history.epoch, history.best_epoch, history.best_value) == (5, 2, 0.3)
    assert model.weight.item() == pytest.approx(script.seen[1])
    assert [p for p in history.curve if p[1] == "validation"] == [
        (epoch, "validation", "recall@20", value)
        for epoch, value in enumerate((0.1, 0.3, 0.2, 0.3, 0.25), 1)
    ]


def test_validates_every_so_many_epochs_and_the_last() -> None:
    script = Script(0.1, 0.2, 0.3)
    config = TrainConfig(validate_every=3, patience=3, epochs=8, batch_size=100)
    history = fit(Toy(), TRAIN, script, config)
    validated = [(epoch, value) for epoch, kind, _, value in history.curve if kind == "validation"]
    assert validated == [(3, 0.1), (6, 0.2), (8, 0.3)]
    assert (history.epoch, history.best_epoch) == (8, 8)


def test_patience_ends_training_where_an_epoch_was_validated() -> None:
    script = Script(0.3, 0.2, 0.9)
    history = fit(Toy(), TRAIN, script, TrainConfig(validate_every=4, patience=3, batch_size=100))
    assert (history.epoch, history.best_epoch, len(script.seen)) == (8, 4, 2)


def test_an_epoch_without_any_hit_can_be_the_best() -> None:
    assert fit(Toy(), TRAIN, Script(0.0), TrainConfig(epochs=1)).best_epoch == 1


@pytest.mark.parametrize("fault", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_epoch_batch_and_term(fault: float) -> None:
    steps = -(-len(TRAIN.items) // 100)
    model = Toy(fail_at=steps + 2, fault=fault)
    message = rf"epoch 2 of {steps} batches, batch 2, loss term bad is {fault}; lower train"
    with pytest.raises(UserError, match=message):
        fit(model, TRAIN, Script(0.1, 0.2, 0.3), TrainConfig(batch_size=100))


class Explodes(Toy):
    """After so many steps, a term that is finite while its gradient is not: sqrt at 0."""

    def __init__(self, fine: int):
        super().__init__()
        self.register_buffer("left", torch.tensor(fine))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        left = self.get_buffer("left")
        root = (self.weight * 0).abs().sqrt().sum() if left <= 0 else self.weight.sum()
        left -= 1
        return {"good": (self.weight - 1).square().sum(), "root": root}


class Grows(Toy):
    """Finite terms and gradients, whatever the step."""

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"good": -self.weight.sum() / 1e30}


@pytest.mark.parametrize("epochs_before", [0, 3])
def test_a_gradient_that_is_not_finite_names_its_own_batch_and_term(
    epochs_before: int, tmp_path: Path
) -> None:
    """The losses are NaN from the next batch on; the last checkpoint is that of the start."""
    steps = -(-len(TRAIN.items) // 100)
    message = f"epoch {epochs_before + 1} .* batch 2, the gradient of loss term root by weight"
    model = Explodes(epochs_before * steps + 1)
    with pytest.raises(DivergenceError, match=message):
        fit(
            model, TRAIN, Script(*[0.1] * 9), TrainConfig(batch_size=100), InFile(tmp_path / "c.pt")
        )


def test_without_a_checkpoint_a_divergence_names_the_first_loss_that_shows_it() -> None:
    with pytest.raises(DivergenceError, match=r"epoch 1 .* batch 3, loss term good is nan"):
        fit(Explodes(1), TRAIN, Script(0.1), TrainConfig(epochs=1, batch_size=100))


def test_a_step_out_of_range_names_the_parameter(tmp_path: Path) -> None:
    config = TrainConfig(epochs=1, batch_size=100, learning_rate=3e38)
    with pytest.raises(DivergenceError, match="batch 1, parameter weight is not finite after"):
        fit(Grows(), TRAIN, Script(0.1), config, InFile(tmp_path / "c.pt"))


def test_nothing_is_copied_while_training_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault C9: each epoch copied the model and Adam's state."""
    states: list[str] = []
    real = Optimiser.state_dict

    def counted(self: Optimiser) -> dict[str, Any]:
        states.append("optimiser")
        return real(self)

    monkeypatch.setattr(Optimiser, "state_dict", counted)
    train(None)
    assert states == []


def test_an_absurd_learning_rate_ends_in_the_same_advice() -> None:
    model = BPRMF(data(TRAIN), BPRMF.Config(dim=4, regularization=1.0), seed=0)
    with pytest.raises(UserError, match=r"lower train.learning_rate \(now 1e\+30\)"):
        fit(model, TRAIN, Script(*[0.1] * 50), TrainConfig(learning_rate=1e30, epochs=50))


def test_scores_that_overflow_after_the_only_epoch_are_a_divergence(tmp_path: Path) -> None:
    """The loss was taken before the only step; parameters of 1e20 are finite, products are not."""
    model = BPRMF(data(TRAIN), BPRMF.Config(dim=4, regularization=0.0), seed=0)
    config = TrainConfig(learning_rate=1e20, epochs=1)
    select = selector("recall@20", random_train(50, 40, 50), TRAIN)
    with pytest.raises(DivergenceError, match=r"epoch 1 .* scores are NaN .* \(now 1e\+20\)"):
        fit(model, TRAIN, select, config, InFile(tmp_path / "c.pt"))
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def stop_after(count: int) -> trainer.Select:
    """A selection metric that stops the run, as Ctrl-C would, in the epoch after."""
    calls = []

    def select(branch: Scorer) -> float:
        assert isinstance(branch, Branch)
        calls.append(branch)
        if len(calls) > count:
            raise KeyboardInterrupt
        return branch.p.square().sum().item()  # any smooth function of the parameters

    return select


PLAIN: dict[str, Any] = {}
OPTIONS: list[dict[str, Any]] = [
    {"clip_norm": 0.05},
    {"schedule": "cosine", "warmup": 3},
    {"average": 0.9},
    {"precision": "bf16"},
    {
        "clip_norm": 0.05,
        "schedule": "cosine",
        "warmup": 3,
        "average": 0.9,
        "precision": "bf16",
    },
]


def train(
    file: Path | None, count: int = 10**9, seed: int = 0, options: dict[str, Any] = PLAIN
) -> tuple[BPRMF, History]:
    model = BPRMF(data(TRAIN), BPRMF.Config(dim=4, regularization=1e-3), seed=0)
    config = TrainConfig(epochs=12, batch_size=64, learning_rate=0.02, seed=seed, **options)
    return model, fit(model, TRAIN, stop_after(count), config, InFile(file) if file else None)


def same(one: tuple[BPRMF, History], other: tuple[BPRMF, History]) -> bool:
    states = [model.state_dict() for model, _ in (one, other)]
    equal = all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    return equal and one[1].curve == other[1].curve and one[1].best_epoch == other[1].best_epoch


@pytest.mark.parametrize("stops", [(1,), (5,), (11,), (3, 1, 4)])
def test_an_interrupted_run_goes_on_to_the_same_result(
    stops: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    for count in stops:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "c.pt", count)
    resumed = train(tmp_path / "c.pt", 12 - sum(stops))  # an epoch trained twice would raise
    assert same(resumed, train(None))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options))
def test_every_option_changes_the_result_and_survives_an_interruption(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = train(None, options=options)
    assert same(whole, train(None)) == (options == {"precision": "bf16"})  # it has no product
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "c.pt", 2, options=options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "c.pt", 5, options=options)
    assert same(train(tmp_path / "c.pt", options=options), whole)


def test_the_average_is_validated_and_kept() -> None:
    model, script = Toy(), Script(*[0.1 * epoch for epoch in range(1, 6)])
    fit(model, TRAIN, script, TrainConfig(epochs=5, batch_size=100, average=0.9))
    plain = Script(*[0.1] * 5)
    fit(Toy(), TRAIN, plain, TrainConfig(epochs=5, batch_size=100))
    assert model.weight.item() == script.seen[-1]
    assert all(
        averaged < own for averaged, own in zip(script.seen, plain.seen, strict=True)
    )  # the weight rises from 0 to 1, its average lags behind


def test_a_finished_run_trains_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    first = train(tmp_path / "c.pt")
    assert same(first, train(tmp_path / "c.pt", 0))


def test_the_checkpoint_of_another_run_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    train(tmp_path / "c.pt", seed=1)
    assert same(train(tmp_path / "c.pt"), train(None))
    assert "another training run" in caplog.text


def test_checkpoints_are_seconds_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 3600.0)
    train(tmp_path / "c.pt")
    saved = checkpoint.load(tmp_path / "c.pt", torch.device("cpu"))
    assert saved is not None
    assert saved["history"]["epoch"] == 0  # the one of the start


def test_the_log_has_the_first_epoch_and_then_one_every_ten_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    train(None)
    (line,) = caplog.messages
    assert re.fullmatch(
        r"train BPRMF: epoch 1 of at most 12: bpr [\d.]+ l2 [\d.]+ recall@20 [\d.]+ "
        r"\(best [\d.]+ in epoch 1\)",
        line,
    )
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.clear()
    train(None)
    assert sum(text.startswith("train BPRMF: epoch") for text in caplog.messages) == 12


def test_epochs_have_their_own_randomness() -> None:
    model = Toy()
    fit(model, TRAIN, Script(*[0.1] * 3), TrainConfig(epochs=3))
    assert len(set(model.noise)) == len(model.noise)


def test_threads_at_work_change_no_bit() -> None:
    """Batches large enough for several threads a kernel, three trainings at once, one alone."""
    torch.set_num_threads(2)
    big = random_train(300, 200, 9000)
    validation = random_train(300, 200, 500)
    results: list[dict[str, Tensor]] = []

    def work() -> None:
        model = BPRMF(data(big), BPRMF.Config(dim=64, regularization=1e-3), seed=0)
        select = selector("recall@5", validation, big)
        fit(model, big, select, TrainConfig(epochs=4, learning_rate=0.01))
        results.append(model.state_dict())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    assert len(results) == 4
    for state in results[1:]:
        assert all(torch.equal(state[name], results[0][name]) for name in state)


def test_no_validation_interactions() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(UserError, match="no validation interactions"):
        selector("recall@20", UserItems.from_pairs(nothing, nothing, 50, 40), TRAIN)


def test_cuda_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UserError, match=r"train\.device is cuda"):
        device(TrainConfig(device="cuda"))
    assert device(TrainConfig(device="auto")).type == "cpu"
