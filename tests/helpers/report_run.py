"""One small run for all tests of the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium
from whole_pipeline import OTHERS, changed

from brmrs.config.pipeline import PipelineConfig
from brmrs.report.stage import REPORT
from brmrs.stages import STAGES
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record

Made = tuple[ArtifactStore, runs.Run, runs.Run]


@pytest.fixture(scope="session")
def made(
    tmp_path_factory: pytest.TempPathFactory, small_sample: Path, small_config: PipelineConfig
) -> Made:
    """A store with two runs of the small sample, the second with another learning rate."""
    store = ArtifactStore(tmp_path_factory.mktemp("report") / "artifacts")
    config = changed(small_config, "diagnosis.truth", small_sample / "truth")
    config = changed(config, "features.visual.layer", "avgpool")
    config = changed(config, "features.visual.backbone", "mobilenet_v3_small")  # the fastest
    other = changed(config, "train.learning_rate", 0.05)
    return store, _run(store, config), _run(store, other)


def _run(store: ArtifactStore, config: PipelineConfig) -> runs.Run:
    name = runs.new_name(store)
    prints = fingerprint(config, [*OTHERS, "text_model"])
    records: dict[str, Record] = {}
    for stage in STAGES:
        upstream = {each: records[each].artifact for each in stage.upstream}
        records[stage.name] = execute(stage, config, prints, upstream, store, name)
    values = config.model_dump(mode="json")
    run = runs.Run(name, values, prints, records, 1.5, runs.this_machine())
    runs.save(run, store)
    return run


@pytest.fixture(scope="session")
def folders(made: Made) -> dict[str, Path]:
    """The artifacts of the first run by stage."""
    store, run, _ = made
    return {name: store.path(record.artifact) for name, record in run.stages.items()}


@pytest.fixture(scope="session")
def page(folders: dict[str, Path]) -> str:
    """The page of the stage."""
    return (folders["report"] / REPORT).read_text(encoding="utf-8")


@pytest.fixture(scope="module")  # only one browser may be open in a process
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started
