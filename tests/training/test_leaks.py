"""Held-out interactions teach nothing: other ones in their place change no byte that trains."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from board_artifacts import N_ITEMS, N_USERS, Rows, config, content, context, rows, write_inputs

from brmrs.columns import LOSS, TEST, TRAIN, VALIDATION
from brmrs.config.models import names as model_names
from brmrs.graphs import stage as graphs
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.stages import GIVEN
from brmrs.stages import SPLIT as SPLIT_FILE
from brmrs.training.sampling import Sampler
from brmrs.training.stage import run

pytestmark = pytest.mark.usefixtures("one_thread")


def permuted() -> Rows:
    """The board with its held-out items dealt out anew; a user keeps the number of each split."""
    held_out = [row for row in rows() if row[2] != TRAIN]
    result = [row for row in rows() if row[2] == TRAIN]
    taken = {(user, item) for user, item, _ in result}
    items = np.random.default_rng(0).permutation([item for _, item, _ in held_out])
    for user, _, split in held_out:
        item = next(int(i) for i in (*items, *range(N_ITEMS)) if (user, int(i)) not in taken)
        taken.add((user, item))
        result.append((user, item, split))
    return result


def test_the_permutation_moves_the_held_out_items_and_nothing_else() -> None:
    for split in (VALIDATION, TEST):
        before = {row for row in rows() if row[2] == split}
        after = {row for row in permuted() if row[2] == split}
        assert len(before) == len(after) == N_USERS
        assert len(before & after) < N_USERS / 4
    assert [row for row in permuted() if row[2] == TRAIN] == [
        row for row in rows() if row[2] == TRAIN
    ]


@pytest.mark.parametrize("name", model_names())
def test_no_recommender_learns_from_held_out_items(name: str, tmp_path: Path) -> None:
    curves, models = [], []
    for folder, interactions in (("board", rows()), ("permuted", permuted())):
        root = tmp_path / folder
        stage = context(write_inputs(root, interactions), root, config(name, epochs=2))
        run(stage)
        curve = pq.read_table(stage.out / "curve.parquet").to_pylist()
        curves.append([row for row in curve if row["kind"] == LOSS])
        models.append(bundle.load(stage.out))
    assert curves[0] == curves[1]
    if models[0].about.best_epoch == models[1].about.best_epoch:  # validation may select another
        for field, tensor in vars(models[0].fused).items():
            assert torch.equal(tensor, vars(models[1].fused)[field]), field


def test_no_graph_is_made_of_held_out_items(tmp_path: Path) -> None:
    written = []
    for folder, interactions in (("board", rows()), ("permuted", permuted())):
        root = tmp_path / folder
        inputs = write_inputs(root, interactions)
        inputs |= {name: root / name for name in GIVEN.values()}  # absent: no benchmark
        stage = context(inputs, root, config())
        graphs.run(stage)
        written.append(content(stage.out))
    assert written[0] == written[1]


@pytest.mark.parametrize("negatives", [0, 1, 4])
def test_no_sample_depends_on_held_out_items(negatives: int, tmp_path: Path) -> None:
    drawn = []
    for folder, interactions in (("board", rows()), ("permuted", permuted())):
        inputs = write_inputs(tmp_path / folder, interactions)
        train = UserItems.read(inputs[SPLIT_FILE], TRAIN, N_USERS, N_ITEMS)
        batches = Sampler(train, negatives).epoch(100, torch.Generator().manual_seed(3))
        drawn.append([tensor for batch in batches for tensor in vars(batch).values()])
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    assert len(drawn[0]) > 3
