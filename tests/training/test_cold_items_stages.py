"""The stages `train` and `evaluate` with the split protocol `cold-items`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from board_artifacts import N_ITEMS, Rows, config, context, rows, write_inputs

from brmrs.columns import FUSED, TEST, TRAIN, VALIDATION
from brmrs.config.pipeline import PipelineConfig
from brmrs.evaluation.metrics import COLD_ITEMS
from brmrs.evaluation.stage import run as evaluate
from brmrs.models import bundle
from brmrs.models.base import Branch
from brmrs.stages import FEATURE_TABLES, SPLIT
from brmrs.system.files import read_json
from brmrs.training.stage import run as train

pytestmark = pytest.mark.usefixtures("one_thread")
PARTS = {0: VALIDATION, 1: VALIDATION, 2: TEST, 3: TEST}  # of items; all others train


def cold_rows() -> Rows:
    return [(user, item, PARTS.get(item, TRAIN)) for user, item, _ in rows()]


def settings(model: str, protocol: str = "cold-items") -> PipelineConfig:
    found = config(model, epochs=30, selection="recall@1")
    return found.model_copy(
        update={
            "split": found.split.model_copy(update={"protocol": protocol}),
            "evaluate": found.evaluate.model_copy(update={"k": (1,)}),
        }
    )


def measured(root: Path, trained: Path, chosen: PipelineConfig) -> dict[str, Any]:
    tables = {table: root / table for table in FEATURE_TABLES.values()}
    inputs = {SPLIT: root / SPLIT, "train": trained, **tables}
    (root / chosen.split.protocol).mkdir()
    stage = context(inputs, root / chosen.split.protocol, chosen)
    evaluate(stage)
    metrics: dict[str, Any] = read_json(stage.out / "metrics.json")
    return metrics


@pytest.mark.parametrize("model", ["bpr-mf", "content-knn", "br-mrs"])
def test_new_items_are_ranked_among_themselves(model: str, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, cold_rows())
    stage = context(inputs, tmp_path, settings(model))
    train(stage)
    found = bundle.load(stage.out)
    # Scores of known items are the best; among the new ones, those of the user's parity are.
    parity = torch.arange(len(found.about.users)).unsqueeze(1) % 2 == torch.arange(N_ITEMS) % 2
    scores = torch.ones(parity.shape)
    scores[:, list(PARTS)] = 0.5 * parity[:, list(PARTS)]
    oracle = Branch(torch.eye(len(scores)), scores.T.contiguous())
    folder = tmp_path / "oracle"
    folder.mkdir()
    bundle.Bundle(found.about, {FUSED: oracle}, found.seen, {}).save(folder)
    cold = measured(tmp_path, folder, settings(model))
    assert cold["definitions"]["protocol"] == COLD_ITEMS
    assert cold["ranking"] == "new items among themselves"
    assert cold["test"]["recall@1"] == cold["validation"]["recall@1"] == 1
    everything = measured(tmp_path, folder, settings(model, "random"))
    assert everything["definitions"]["protocol"] != COLD_ITEMS
    assert everything["test"]["recall@1"] < 1


def test_new_items_are_never_drawn_as_negatives(tmp_path: Path) -> None:
    """Their vectors get no gradient: they keep their initial values."""
    inputs = write_inputs(tmp_path, cold_rows())
    kept = {}
    for epochs in (1, 30):
        chosen = settings("bpr-mf")
        chosen = chosen.model_copy(
            update={
                "train": chosen.train.model_copy(update={"epochs": epochs, "patience": epochs}),
                "model": chosen.model.model_copy(update={"regularization": 0.0}),
            }
        )
        (tmp_path / str(epochs)).mkdir()
        stage = context(inputs, tmp_path / str(epochs), chosen)
        train(stage)
        kept[epochs] = bundle.load(stage.out).state["q"]
    new = list(PARTS)
    assert torch.equal(kept[1][new], kept[30][new])
    assert not torch.equal(kept[1], kept[30])
