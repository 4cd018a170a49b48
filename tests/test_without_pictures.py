"""The whole pipeline over a dump in which no item has a picture."""

import re
from pathlib import Path

import pytest
from whole_pipeline import Pipeline, changed

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.models import bundle
from brmrs.store.artifacts import ArtifactStore
from brmrs.system.files import read_json

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_model_is_trained_on_texts_alone_and_everything_says_so(
    small_config: PipelineConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = changed(changed(small_config, "images.folder", None), "train.epochs", 1)
    store = ArtifactStore(tmp_path / "art [x]* s?")  # no pattern: a path like any other
    artifacts = Pipeline(store).run(config)[1]
    folders = {name: store.path(artifact) for name, artifact in artifacts.items()}
    meta = read_json(folders["visual_features"] / "meta.json")
    assert (meta["present"], meta["weights_sha256"]) == (0, None)
    model = bundle.load(folders["train"])
    assert set(model.branches) == {FUSED, TEXT}
    assert {name: each.used for name, each in model.about.features.items()} == {
        TEXT: True,
        VISUAL: False,
    }
    covered = read_json(folders["evaluate"] / "metrics.json")["coverage"]
    assert set(covered[VISUAL].values()) == {0.0}
    assert covered[TEXT]["items"] > 0.9
    page = (folders["report"] / "report.html").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if f"<td>{meta['label']}</td>" in line]
    assert row.count(">0.0 %</data>") == 3
    assert "A recommender learned from text only" in page
    assert "has no visual branch here" in page  # the diagnosis
    assert '<section id="cases">' not in page
    warned = r"visual features: 0 of \d+ items have a picture; models are trained without"
    assert re.search(warned, caplog.text)


def test_a_model_that_needs_features_refuses_data_without_any(
    small_config: PipelineConfig, tmp_path: Path
) -> None:
    bare = changed(changed(small_config, "images.folder", None), "ingest.metadata", [])
    with pytest.raises(UserError, match=r"^model br-mrs needs features, and the data have none"):
        Pipeline(ArtifactStore(tmp_path)).run(bare)
