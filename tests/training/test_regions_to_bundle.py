"""Regions from the feature folder through training into a bundle that needs them no more."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from board_artifacts import N_ITEMS, config, content, context, write_inputs

from brmrs.models import bundle
from brmrs.serving.recommend import recommend, similar
from brmrs.stages import StageContext
from brmrs.training.stage import prepare, run

pytestmark = pytest.mark.usefixtures("one_thread")


def stage(root: Path) -> StageContext:
    """The board, whose pictures have maps of 2 x 3 regions; two items have none."""
    inputs = write_inputs(root)
    maps = np.random.default_rng(0).normal(size=(N_ITEMS, 2, 3, 5)).astype(np.float16)
    maps[:2] = 0
    np.save(root / "visual_features" / "regions.npy", maps)
    return context(inputs, root, config("vecf", epochs=3))


def test_regions_are_mapped_not_read(tmp_path: Path) -> None:
    trained = stage(tmp_path)
    regions = prepare(trained.inputs, trained.config).data.regions
    assert regions is not None
    assert (regions.shape, regions.dtype) == ((N_ITEMS, 6, 5), torch.float16)
    file = tmp_path / "visual_features" / "regions.npy"
    np.load(file, mmap_mode="r+")[3, 1, 2] = 7
    assert (regions[3, 5] == 7).all()


def test_a_bundle_of_regions_serves_without_them(tmp_path: Path) -> None:
    trained = stage(tmp_path / "one")
    run(trained)
    again = stage(tmp_path / "two")
    run(again)
    assert content(trained.out) == content(again.out)
    shutil.rmtree(tmp_path / "one" / "visual_features")
    loaded = bundle.load(trained.out)
    used = {name: feature.used for name, feature in loaded.about.features.items()}
    assert used == {"text": False, "visual": True}
    assert len(recommend(loaded, "U003", 5)) == 5
    assert len(similar(loaded, "B003", 5)) == 5
    curve = pq.read_table(trained.out / "curve.parquet").to_pylist()
    entropy = [row["value"] for row in curve if row["name"] == "cross_entropy"]
    assert len(entropy) == 3
    assert entropy[-1] < entropy[0]
