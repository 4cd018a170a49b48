"""Residual scores in the stage `train`: fitted after it, weights from the validation split."""

from pathlib import Path
from typing import Any

import pytest
import torch
from board_artifacts import config, context, write_inputs

from brmrs.columns import FUSED, MODEL
from brmrs.config.models import ModelSection, configure
from brmrs.evaluation.metrics import measure
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.models.base import Branch
from brmrs.models.ssc import SSC
from brmrs.models.standardised import StandardisedSum
from brmrs.training import trainer
from brmrs.training.residual_weights import candidates, choose
from brmrs.training.stage import run

pytestmark = pytest.mark.usefixtures("one_thread")


def scorer(scores: torch.Tensor) -> Branch:
    """The scorer of a (U, I) table."""
    return Branch(scores, torch.eye(scores.shape[1]))


def drawn(users: int, items: int) -> tuple[UserItems, UserItems, dict[str, Branch]]:
    """Validation and training items, a model that is noise, a residual that knows the held out."""
    generator = torch.Generator().manual_seed(0)
    everyone = torch.arange(users)
    train = UserItems.from_pairs(everyone, everyone % items, users, items)
    held_out = UserItems.from_pairs(everyone, (everyone + 3) % items, users, items)
    noise = torch.rand(users, items, generator=generator)
    hint = torch.rand(users, items, generator=generator)
    hint[everyone, (everyone + 3) % items] += 0.3
    useless = torch.rand(users, items, generator=generator)
    parts = {MODEL: scorer(noise), "hint": scorer(hint), "useless": scorer(useless)}
    return held_out, train, parts


def test_the_search_raises_what_helps_and_lowers_what_does_not() -> None:
    held_out, train, parts = drawn(400, 60)
    start = {"hint": 0.3, "useless": 0.3}
    chosen = choose(parts, start, held_out, train, "recall@5")
    assert chosen["hint"] > 0.3 > chosen["useless"]

    def recall(weights: dict[str, float]) -> float:
        total = StandardisedSum(torch.tensor([1.0, *weights.values()]), parts)
        return float(measure(total, held_out, train, (5,))["recall@5"].mean())

    assert recall(chosen) > recall(start)


def test_the_candidates_give_the_metric_of_all_items() -> None:
    held_out, train, parts = drawn(70, 300)
    weights = torch.tensor([1.0, 0.5, 0.2])
    found = candidates(parts, weights, held_out, train).measure(weights, "ndcg@20", {})
    total = StandardisedSum(weights, parts)
    assert found == pytest.approx(float(measure(total, held_out, train, (20,))["ndcg@20"].mean()))


def test_the_candidates_are_the_items_that_the_split_ranks() -> None:
    """As with new items ranked among themselves, which `measure` selects by."""
    held_out, train, parts = drawn(70, 300)
    weights = torch.tensor([1.0, 0.5, 0.2])
    among = torch.zeros(300, dtype=torch.bool)
    among[held_out.items] = True
    found = candidates(parts, weights, held_out, train, among).measure(weights, "recall@5", {})
    total = StandardisedSum(weights, parts)
    expected = measure(total, held_out, train, (5,), among=among)["recall@5"].mean()
    everything = measure(total, held_out, train, (5,))["recall@5"].mean()
    assert found == pytest.approx(float(expected))
    assert found > float(everything)


def test_the_stage_adds_the_scores_and_reports_the_sum(tmp_path: Path) -> None:
    settings = {"ease": 0.2, "neighbours": 0.1, "graph_filter": 0.1, "ridge": 10.0}
    made = {}
    for name, more in (("fixed", {}), ("searched", {"search": True})):
        base = config(epochs=3)
        model = base.model.model_copy(
            update={"residuals": type(base.model.residuals)(**settings, **more)}
        )
        stage = context(
            write_inputs(tmp_path / name),
            tmp_path / name,
            base.model_copy(update={"model": model}),
        )
        run(stage)
        made[name] = bundle.load(stage.out)
    fixed, searched = made["fixed"].about, made["searched"].about
    assert fixed.residuals == {"ease": 0.2, "neighbours": 0.1, "graph-filter": 0.1}
    assert set(made["fixed"].branches) == {FUSED, MODEL, *fixed.residuals}
    assert searched.validation["recall@2"] >= fixed.validation["recall@2"]
    assert all(feature.used for feature in fixed.features.values())


def trained(folder: Path, model: ModelSection, **train: Any) -> bundle.Bundle:
    """The bundle of a run of the stage."""
    base = config(epochs=3, **train)
    stage = context(write_inputs(folder), folder, base.model_copy(update={"model": model}))
    run(stage)
    return bundle.load(stage.out)


def test_a_second_model_is_trained_as_if_alone_and_added(tmp_path: Path) -> None:
    wanted = {"residuals": {"ssc": 0.5, "visual_weight": 0.3}}
    both = trained(tmp_path / "both", configure("lightgcn", dim=4, **wanted), batch_size=3)
    first = trained(tmp_path / "first", configure("lightgcn", dim=4), batch_size=3)
    train = {"draw": "users", "learning_rate": 5e-3, "average": 0.99, "batch_size": 6}
    second = trained(tmp_path / "second", configure("ssc", visual_weight=0.3), **train)
    users = torch.arange(len(both.about.users))
    for name, alone in ((MODEL, first), ("ssc", second)):
        torch.testing.assert_close(both.branches[name].scores(users), alone.fused.scores(users))
    parts = {MODEL: first.fused, "ssc": second.fused}
    total = StandardisedSum(torch.tensor([1.0, 0.5]), parts)
    torch.testing.assert_close(both.fused.scores(users), total.scores(users))
    assert both.about.residuals == {"ssc": 0.5}


def test_the_training_of_the_second_model_continues(tmp_path: Path, monkeypatch: Any) -> None:
    model = configure("lightgcn", dim=4, residuals={"ssc": 0.5})
    whole = trained(tmp_path / "whole", model)
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    stage = context(
        write_inputs(tmp_path / "cut"),
        tmp_path / "cut",
        config(epochs=3).model_copy(update={"model": model}),
    )
    epoch = trainer._Run.epoch

    def interrupted(self: Any) -> str:
        if isinstance(self.model, SSC) and self.history.epoch == 2:
            raise KeyboardInterrupt
        return epoch(self)

    monkeypatch.setattr(trainer._Run, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(stage)
    seen = []

    def counted(self: Any) -> str:
        seen.append((type(self.model), self.history.epoch))
        return epoch(self)

    monkeypatch.setattr(trainer._Run, "epoch", counted)
    run(stage)
    assert seen == [(SSC, 2)]
    users = torch.arange(len(whole.about.users))
    continued = bundle.load(stage.out)
    assert torch.equal(continued.fused.scores(users), whole.fused.scores(users))


def test_a_second_model_like_the_first_is_refused() -> None:
    with pytest.raises(ValueError, match="train the model again"):
        configure("ssc", residuals={"ssc": 0.5})
