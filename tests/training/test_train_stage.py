import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from board_artifacts import (
    LABELS,
    N_ITEMS,
    N_USERS,
    Rows,
    config,
    content,
    context,
    rows,
    write_inputs,
)

from brmrs.columns import CURVE, LOSS, TEST, TRAIN, VALIDATION
from brmrs.config.features import FeaturesConfig
from brmrs.config.models import names as model_names
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models import bundle
from brmrs.training.learn import summary
from brmrs.training.stage import NEIGHBOURS_ONLY, of_graphs, run
from brmrs.training.trainer import History

pytestmark = pytest.mark.usefixtures("one_thread")

CurveRows = list[dict[str, object]]


def train(root: Path, settings: PipelineConfig, interactions: Rows | None = None) -> Path:
    """Run the stage on the board below `root`; returns the artifact's folder."""
    inputs = write_inputs(root, interactions)
    stage = context(inputs, root, settings)
    run(stage)
    return stage.out


def losses(artifact: Path) -> CurveRows:
    curve: CurveRows = pq.read_table(artifact / "curve.parquet").to_pylist()
    return [row for row in curve if row["kind"] == LOSS]


def test_the_label_of_replaced_neighbours_says_so() -> None:
    """A model that reads only the neighbours has no features of its own to describe."""
    graph = SparseMatrix.from_edges(
        torch.tensor([0, 1]), torch.tensor([1, 0]), torch.ones(2), (3, 3)
    )
    data: Any = SimpleNamespace(items=3, modality_graphs={"visual": graph})
    replaced = FeaturesConfig.model_validate({"replace": {"visual": "permuted"}})
    found = of_graphs(data, replaced, {"visual"})["visual"]
    assert found.label == "graph of the nearest neighbours, permuted among the items"
    assert (found.present, found.items) == (2, 3)
    assert of_graphs(data, FeaturesConfig(), {"visual"})["visual"].label == NEIGHBOURS_ONLY


def test_bpr_mf_learns_the_board(tmp_path: Path) -> None:
    out = train(tmp_path, config())
    assert sorted(content(out)) == ["bundle.json", "curve.parquet", "model.safetensors"]
    model = bundle.load(out)
    assert model.about.validation["recall@2"] > 0.9
    assert (len(model.about.users), len(model.about.items)) == (N_USERS, N_ITEMS)
    assert (model.about.users[3], model.about.items[4]) == ("U003", "B004")
    assert set(model.state) == {"p", "q"}
    trained = {(user, item) for user, item, split in rows() if split == TRAIN}
    seen = zip(model.seen.users.tolist(), model.seen.items.tolist(), strict=True)
    assert set(seen) == trained
    assert pq.read_schema(out / "curve.parquet") == CURVE
    terms = {row["name"] for row in losses(out)}
    assert terms == {"bpr", "l2"}
    assert len(losses(out)) == 2 * 60


def test_the_best_epoch_is_the_one_of_the_curve(tmp_path: Path) -> None:
    out = train(tmp_path, config(epochs=15))
    curve = pq.read_table(out / "curve.parquet").to_pylist()
    values = [row["value"] for row in curve if row["kind"] == "validation"]
    about = bundle.load(out).about
    assert about.validation == {"recall@2": max(values)}
    assert about.best_epoch == 1 + int(np.argmax(values))


def test_labels_reach_the_bundle_and_say_what_was_used(tmp_path: Path) -> None:
    used = bundle.load(train(tmp_path / "a", config("br-mrs", epochs=1))).about.features
    assert {name: feature.label for name, feature in used.items()} == LABELS
    assert all(feature.used and feature.present == N_ITEMS - 2 for feature in used.values())
    idle = bundle.load(train(tmp_path / "b", config("bpr-mf", epochs=1))).about.features
    assert not any(feature.used for feature in idle.values())


def test_what_training_took_is_measured_and_not_in_the_artifact(tmp_path: Path) -> None:
    stage = context(write_inputs(tmp_path), tmp_path, config(epochs=3))
    run(stage)
    assert stage.notes["epochs"] == 3
    assert 0 < stage.notes["seconds_per_epoch"] < 100
    assert stage.notes["peak_memory_bytes"] > 10**7
    assert b"peak_memory" not in b"".join(content(stage.out).values())


def test_the_line_on_a_training_says_what_ended_it() -> None:
    settings = config("lightgcn", epochs=20, patience=10, seed=3)
    of_20 = History(epoch=20, best_epoch=15, seconds=5.0)
    assert summary(settings, of_20, 2**30) == (
        "trained lightgcn, seed 3: 20 epochs of 0.25 s, best in epoch 15, ended by train.epochs "
        "before patience ran out; the process's peak is 1,024 MB"
    )
    assert "ended" not in summary(settings, History(epoch=18, best_epoch=8), 2**30)
    assert "nothing to train" in summary(settings, History(), 2**30)


def test_imputation_reaches_the_model_and_is_named_in_the_bundle(tmp_path: Path) -> None:
    settings = config("bm3", epochs=1)
    features = settings.features.model_copy(update={"imputation": "mean"})
    plain = bundle.load(train(tmp_path / "a", settings))
    filled = bundle.load(train(tmp_path / "b", settings.model_copy(update={"features": features})))
    named = [{f.imputation for f in each.about.features.values()} for each in (plain, filled)]
    assert named == [{"zeros"}, {"mean"}]
    assert any(not torch.equal(plain.state[part], filled.state[part]) for part in plain.state)


def test_most_popular_is_evaluated_once(tmp_path: Path) -> None:
    out = train(tmp_path, config("most-popular"))
    model = bundle.load(out)
    assert model.about.best_epoch == 0
    assert (
        model.fused.scores(torch.tensor([0]))[0].tolist()
        == np.bincount(
            [item for _, item, split in rows() if split == TRAIN], minlength=N_ITEMS
        ).tolist()
    )
    assert len(pq.read_table(out / "curve.parquet")) == 1


@pytest.mark.parametrize("name", ["bpr-mf", "lightgcn", "br-mrs"])
def test_bf16_finds_what_fp32_finds(name: str, tmp_path: Path) -> None:
    found = {
        precision: bundle.load(train(tmp_path / precision, config(name, precision=precision)))
        for precision in ("fp32", "bf16")
    }
    best = {precision: model.about.validation["recall@2"] for precision, model in found.items()}
    assert best["bf16"] > best["fp32"] - 0.1
    assert {tensor.dtype for tensor in found["bf16"].state.values()} == {torch.float32}


@pytest.mark.parametrize("name", model_names())
def test_two_runs_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    first, second = (train(tmp_path / run, config(name, epochs=3)) for run in ("a", "b"))
    assert content(first) == content(second)


def moved(split: int, seed: int) -> Rows:
    """The board with other held-out items of one split: any that nobody else holds."""
    taken = {(user, item) for user, item, part in rows() if part != split}
    generator = np.random.default_rng(seed)
    result = [row for row in rows() if row[2] != split]
    for user in range(N_USERS):
        free = [item for item in range(N_ITEMS) if (user, item) not in taken]
        result.append((user, int(generator.choice(free)), split))
    return result


def test_test_rows_change_no_byte(tmp_path: Path) -> None:
    without = [row for row in rows() if row[2] != TEST]
    expected = content(train(tmp_path / "all", config(epochs=5)))
    assert content(train(tmp_path / "none", config(epochs=5), without)) == expected
    assert content(train(tmp_path / "moved", config(epochs=5), moved(TEST, 0))) == expected


def test_validation_rows_select_but_teach_nothing(tmp_path: Path) -> None:
    """Other validation items: the same losses to the last bit, so the same parameters."""
    expected = losses(train(tmp_path / "board", config(epochs=5)))
    other = train(tmp_path / "moved", config(epochs=5), moved(VALIDATION, 0))
    assert losses(other) == expected
    assert len(expected) == 10


def test_a_split_without_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no validation interactions"):
        train(tmp_path, config(), [row for row in rows() if row[2] != VALIDATION])


# Runs the stage with a checkpoint after each epoch; the folder and the options are arguments.
CHILD = """
import json, sys
from pathlib import Path
import board_artifacts as board
from brmrs.stages import StageContext
from brmrs.training import trainer
from brmrs.training.stage import run
trainer.SECONDS_BETWEEN_CHECKPOINTS = 0.0
root = Path(sys.argv[1])
inputs = {name: root / name for name in sys.argv[3:]}
out, scratch = root / "out", root / "scratch"
out.mkdir(exist_ok=True)
run(StageContext(board.config(**json.loads(sys.argv[2])), inputs, out, scratch))
"""


class Child:
    """The stage in a process of its own."""

    def __init__(self, root: Path, options: dict[str, Any], inputs: dict[str, Path]):
        here = Path(__file__).parents[1]
        path = os.pathsep.join([str(here / "helpers"), str(here.parent)])
        self.checkpoint = root / "scratch" / "checkpoint.pt"
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root), json.dumps(options), *inputs],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def kill_in_training(self, saves: int) -> None:
        """SIGKILL once some checkpoints were written by this process."""
        seen: set[int] = {self._stamp()}
        limit = time.monotonic() + 120
        while len(seen) <= saves and self.process.poll() is None and time.monotonic() < limit:
            seen.add(self._stamp())
            time.sleep(0.001)
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL, "it ended before the kill"

    def _stamp(self) -> int:
        try:
            return self.checkpoint.stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def test_killed_runs_go_on_to_the_same_bytes(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "epochs": 120,
        "patience": 9999,
        "schedule": "cosine",
        "warmup": 5,
        "clip_norm": 0.1,
        "average": 0.9,
        "precision": "bf16",
    }
    root = tmp_path / "killed"
    inputs = write_inputs(root)
    for saves in (1, 10):
        Child(root, options, inputs).kill_in_training(saves)
        assert not (root / "out" / "bundle.json").exists()
    assert Child(root, options, inputs).process.wait() == 0
    undisturbed = train(tmp_path / "whole", config(**options))
    assert content(root / "out") == content(undisturbed)
