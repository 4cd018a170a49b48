from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from board_artifacts import N_ITEMS, N_USERS, config, content, context, rows, write_inputs

from brmrs.columns import RECOMMENDATIONS, TRAIN
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.models import bundle
from brmrs.models.base import Branch
from brmrs.serving.publish import recommendations, run
from brmrs.serving.recommend import recommend
from brmrs.stages import StageContext
from brmrs.training.stage import run as train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("board")
    stage = context(write_inputs(root), root, config(epochs=2))
    train(stage)
    return stage.out


def stage(trained: Path, root: Path, k: int) -> StageContext:
    settings = PipelineConfig.model_validate({"publish": {"k": k}})
    return context({"train": trained}, root, settings)


def test_every_user_gets_k_unseen_items_in_order(trained: Path, tmp_path: Path) -> None:
    publish = stage(trained, tmp_path, 4)
    run(publish)
    table = pq.read_table(publish.out / "recommendations.parquet")
    assert table.schema == RECOMMENDATIONS
    values = table.to_pylist()
    assert [(row["user"], row["rank"]) for row in values] == [
        (user, rank) for user in range(N_USERS) for rank in range(1, 5)
    ]
    trained_on = {(user, item) for user, item, split in rows() if split == TRAIN}
    assert not trained_on & {(row["user"], row["item"]) for row in values}
    assert all(row["user_id"] == f"U{row['user']:03}" for row in values)
    assert all(row["asin"] == f"B{row['item']:03}" for row in values)
    for one, after in pairwise(values):
        assert one["user"] != after["user"] or one["score"] >= after["score"]


def test_agrees_with_recommend(trained: Path, tmp_path: Path) -> None:
    publish = stage(trained, tmp_path, 3)
    run(publish)
    values = pq.read_table(publish.out / "recommendations.parquet").to_pylist()
    asked = recommend(bundle.load(trained), "U007", 3)
    assert [(row["rank"], row["asin"]) for row in values if row["user_id"] == "U007"] == [
        (rank, asin) for rank, asin, _ in asked
    ]


def test_a_user_gets_what_is_left(trained: Path, tmp_path: Path) -> None:
    """Each user of the board trained on 13 of 30 items."""
    publish = stage(trained, tmp_path, 10**14)
    run(publish)
    assert len(pq.read_table(publish.out / "recommendations.parquet")) == N_USERS * 17


def test_two_runs_give_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    stages = [stage(trained, tmp_path / name, 5) for name in ("a", "b")]
    for publish in stages:
        run(publish)
    assert content(stages[0].out) == content(stages[1].out)


def test_scores_that_are_not_finite_are_not_published(tmp_path: Path) -> None:
    folder = context(write_inputs(tmp_path), tmp_path, config(epochs=1))
    train(folder)
    model = bundle.load(folder.out)
    broken = {"fused": Branch(torch.ones(N_USERS, 1), torch.full((N_ITEMS, 1), torch.nan))}
    with pytest.raises(UserError, match="NaN or infinite"):
        recommendations(replace(model, branches=broken), 3)
