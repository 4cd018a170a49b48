"""The recommenders on the whole sample dump, with the shipped configuration."""

from pathlib import Path

import pytest

from brmrs.config.load import load
from brmrs.sample.write import write_sample
from brmrs.stages import needed
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record
from brmrs.system.files import read_json

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder / "dump")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("model", ["br-mrs", "bm3", "lightgcn", "bpr-mf"])
def test_every_recommender_beats_most_popular_on_recall_at_20(folder: Path, model: str) -> None:
    """Through the library alone, without Prefect."""
    dump = folder / "dump"
    config = load(
        ROOT / "configs" / "sample.yaml",
        (
            f"model={model}",
            f"ingest.reviews={dump}/reviews.jsonl.gz",
            f"ingest.metadata={dump}/meta.jsonl.gz",
            f"images.folder={dump}/images",
        ),
    )
    store = ArtifactStore(folder / "artifacts")
    records: dict[str, Record] = {}
    for stage in needed(config, "evaluate"):
        upstream = {name: records[name].artifact for name in stage.upstream}
        records[stage.name] = execute(stage, config, fingerprint(config), upstream, store, "test")
    metrics = read_json(store.path(records["evaluate"].artifact) / "metrics.json")
    popular = metrics["baseline"]["most-popular"]["test"]["recall@20"]
    assert metrics["test"]["recall@20"] > 1.5 * popular
