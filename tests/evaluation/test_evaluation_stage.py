from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from board_artifacts import (
    N_ITEMS,
    N_USERS,
    config,
    content,
    context,
    rows,
    write_features,
    write_inputs,
    write_split,
)

from brmrs.columns import METRICS, STRATA, TEST, TRAIN, VALIDATION, per_user
from brmrs.evaluation.stage import run
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.models.bundle import Bundle, Description, Feature
from brmrs.stages import SPLIT, StageContext
from brmrs.system.files import read_json
from brmrs.training.stage import run as train


def pairs(part: int) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = [(user, item) for user, item, split in rows() if split == part]
    users, items = torch.tensor(chosen).T
    return users, items


def write_bundle(folder: Path) -> None:
    """A bundle that knows the answers: scores are 2 for test, 1 for validation items, else 0.

    Its text branch knows nothing: item 0 first, for everyone.
    """
    p = torch.eye(N_USERS)
    q = torch.zeros(N_ITEMS, N_USERS)
    for part, score in ((VALIDATION, 1.0), (TEST, 2.0)):
        users, items = pairs(part)
        q[items, users] = score
    text = Branch(torch.ones(N_USERS, 1), torch.arange(N_ITEMS, 0, -1.0).unsqueeze(1))
    train = UserItems.from_pairs(*pairs(TRAIN), N_USERS, N_ITEMS)
    about = Description(
        model={"name": "oracle"},
        train={},
        best_epoch=1,
        validation={},
        features={
            "text": Feature(label="noise", weights_sha256="00", items=1, present=1, used=True)
        },
        users=tuple(f"U{user}" for user in range(N_USERS)),
        items=tuple(f"B{item}" for item in range(N_ITEMS)),
    )
    folder.mkdir(parents=True)
    Bundle(about, {"fused": Branch(p, q), "text": text}, train, {}).save(folder)


@pytest.fixture
def stage(tmp_path: Path) -> StageContext:
    write_split(tmp_path, rows())
    write_bundle(tmp_path / "train")
    inputs = {SPLIT: tmp_path / SPLIT, "train": tmp_path / "train", **write_features(tmp_path)}
    return context(inputs, tmp_path, config())


def test_metrics_of_an_oracle(stage: StageContext) -> None:
    run(stage)
    metrics = read_json(stage.out / "metrics.json")
    assert metrics["users"] == {"validation": N_USERS, "test": N_USERS}
    assert metrics["test"]["recall@2"] == metrics["test"]["ndcg@2"] == 1
    # The test item outranks the validation item in the validation list: nothing but the training
    # items is masked, in either list.
    assert metrics["validation"]["mrr@2"] == 0.5
    assert metrics["test"]["precision@5"] == pytest.approx(1 / 5)
    assert metrics["branches"]["fused"]["test"] == metrics["test"]
    assert metrics["branches"]["text"]["test"]["recall@2"] < 0.5
    assert metrics["model"] == "oracle"
    assert metrics["features"]["text"]["label"] == "noise"
    assert "training items are masked" in metrics["definitions"]["protocol"]
    lacking = sum(item < 2 for _, item, _ in rows()) / len(rows())  # items 0 and 1 have neither
    for covered in metrics["coverage"].values():
        assert covered["items"] == pytest.approx(1 - 2 / N_ITEMS, abs=1e-6)
        assert covered["interactions"] == pytest.approx(1 - lacking, abs=1e-6)


def test_the_baseline_is_computed_from_the_training_split(stage: StageContext) -> None:
    """Recomputed here without the project's own code for ranking."""
    run(stage)
    found = read_json(stage.out / "metrics.json")["baseline"]["most-popular"]["test"]["recall@5"]
    train = [(user, item) for user, item, split in rows() if split == TRAIN]
    counts = [sum(item == other for _, other in train) for item in range(N_ITEMS)]
    hits = 0
    for user, item, split in rows():
        if split == TEST:
            free = [i for i in range(N_ITEMS) if (user, i) not in train]
            hits += item in sorted(free, key=lambda i: (-counts[i], i))[:5]
    assert found == pytest.approx(hits / N_USERS)


def test_the_per_user_table_adds_up(stage: StageContext) -> None:
    run(stage)
    table = pq.read_table(stage.out / "per_user.parquet")
    assert table.schema == per_user((2, 5))
    metrics = read_json(stage.out / "metrics.json")
    values = table.to_pylist()
    order = [(row["user"], row["split"], row["branch"]) for row in values]
    assert order == sorted(order)
    assert len(set(order)) == len(order) == N_USERS * 2 * 2
    for name in METRICS:
        column = [
            row[f"{name}@5"] for row in values if (row["split"], row["branch"]) == (TEST, "text")
        ]
        expected = metrics["branches"]["text"]["test"][f"{name}@5"]
        assert sum(column) / len(column) == pytest.approx(expected)


def test_two_runs_give_the_same_bytes(stage: StageContext, tmp_path: Path) -> None:
    again = context(dict(stage.inputs), tmp_path / "again", stage.config)
    run(stage)
    run(again)
    assert content(stage.out) == content(again.out)


def test_every_branch_of_a_model_is_evaluated(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    trained = context(inputs, tmp_path / "train", config("br-mrs", epochs=1))
    train(trained)
    stage = context({**inputs, "train": trained.out}, tmp_path / "evaluate", config())
    run(stage)
    metrics = read_json(stage.out / "metrics.json")
    assert sorted(metrics["branches"]) == ["fused", "text", "visual"]


def test_intervals_lists_and_strata(stage: StageContext) -> None:
    run(stage)
    metrics = read_json(stage.out / "metrics.json")
    assert metrics["intervals"]["fused"]["test"] == {"recall@5": [1, 1], "ndcg@5": [1, 1]}
    for branch, intervals in metrics["intervals"].items():
        own = {**metrics["branches"], **metrics["baseline"]}[branch]
        for split, values in intervals.items():
            for name, (low, high) in values.items():
                assert low <= own[split][name] <= high
    fused, popular = (metrics["lists"][name]["test"] for name in ("fused", "most-popular"))
    assert fused["coverage"] >= popular["coverage"]
    assert fused["gini"] <= popular["gini"]
    assert set(fused) == set(metrics["definitions"]["lists"])
    table = pq.read_table(stage.out / "strata.parquet")
    assert table.schema == STRATA
    rows = [row for row in table.to_pylist() if row["split"] == TEST and row["branch"] == "fused"]
    assert {row["dimension"] for row in rows} == {
        "item popularity",
        "history length",
        "text",
        "picture",
    }
    assert {row["value"] for row in rows} == {1}


def test_a_split_without_test_rows(stage: StageContext) -> None:
    """Nothing to measure is 0 users and no metrics, not a number made of nothing."""
    write_split(stage.inputs[SPLIT].parents[1], [row for row in rows() if row[2] != TEST])
    run(stage)
    metrics = read_json(stage.out / "metrics.json")
    assert metrics["users"]["test"] == 0
    assert metrics["test"] == {}
    assert metrics["validation"]["recall@5"] == 1
