"""Files of a store that were changed at random, as every command reads them.

Each is read, or refused in one line. What is read is also shown: a value that a reader accepts must
not break the tables. `BRMRS_FUZZ=N` makes N examples of each test.
"""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forge import forged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_bundle import make
from toy_dump import dump

from brmrs.errors import UserError
from brmrs.models import bundle
from brmrs.serving import current
from brmrs.serving.housekeeping import collect
from brmrs.serving.intervals import intervals
from brmrs.serving.recommend import recommend, similar
from brmrs.stages import Stage
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.lineage import difference, origin
from brmrs.store.records import from_text, read_record
from brmrs.store.runs import Run, all_runs, find, latest, new_name, save
from flows.cli import tables
from flows.cli.console import SafeConsole

EXAMPLES = int(os.environ.get("BRMRS_FUZZ", "60"))
NAMES = ("20260101-000000-000-aaaa", "20260101-000001-000-bbbb")
fuzz = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
METRICS: dict[str, Any] = {
    "model": "br-mrs",
    "validation": {"recall@10": 0.1, "recall@20": 0.2},
    "test": {"recall@10": 0.1, "recall@20": 0.2, "ndcg@20": 0.15},
    "baseline": {"most-popular": {"test": {"recall@20": 0.1}}},
    "users": {"test": 10, "validation": 10},
    "features": {"text": {"label": "MiniLM", "present": 3, "items": 4}},
    "coverage": {"items": 0.5},
    "definitions": {"protocol": "all items"},
}


def one_line(read: Callable[[], object]) -> object:
    """What the function gives; None if it raises a UserError of one short line."""
    try:
        return read()
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        return None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """Two runs of three stages, the second one promoted."""
    folder = tmp_path_factory.mktemp("forged")
    store = ArtifactStore(folder / "artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_LOG", str(folder / "log"))
        for seed, name in enumerate(NAMES):
            config, prints = dump(folder, seed=seed)
            values = config.model_dump(mode="json")
            stages = {
                each: execute(
                    Stage(each, "toy_stage", config=("split",), external=("reviews",)),
                    config,
                    prints,
                    {},
                    store,
                    name,
                )
                for each in ("ingest", "train", "evaluate", "publish")
            }
            save(Run(name, values, prints, stages, 1.0, {"cpus": 2}), store)
    verdict = current.Verdict(True, "good", {"difference": 0.1}, "not inferior")
    for name in NAMES:
        current.conclude(store, find(store, name), verdict, {"reviews": ["a" * 64]})
    return store


def shown(store: ArtifactStore) -> None:
    """What the commands that only read show of a store."""
    console = SafeConsole(file=io.StringIO(), width=80)
    runs = one_line(lambda: list(all_runs(store)))
    for run in runs if isinstance(runs, list) else []:
        one_line(lambda run=run: tables.one_run(console, run, store))  # type: ignore[misc]
        one_line(lambda run=run: origin(run.artifact("ingest").digest[:9], store))  # type: ignore[misc]
    one_line(lambda: tables.runs(console, [run.summary(store) for run in all_runs(store)]))
    one_line(lambda: tables.promotions(console, current.read(store)))
    one_line(lambda: _compared(console, store))
    one_line(lambda: collect(store, keep=1, dry_run=True))
    one_line(lambda: current.serving(store))
    one_line(lambda: current.resolve(store, "previous"))
    one_line(lambda: latest(store, "publish"))
    one_line(lambda: new_name(store))


def _compared(console: SafeConsole, store: ArtifactStore) -> None:
    old, new = (find(store, name) for name in NAMES)
    tables.difference(console, difference(old, new, store), intervals(old, new, store))


@fuzz
@given(data=st.data())
def test_a_manifest(store: ArtifactStore, data: st.DataObject) -> None:
    path = store.root / "runs" / f"{NAMES[0]}.json"
    valid = path.read_bytes()
    try:
        path.write_bytes(data.draw(forged(json.loads(valid))))
        shown(store)
    finally:
        path.write_bytes(valid)


@fuzz
@given(data=st.data())
def test_the_pointer_to_the_served_runs(store: ArtifactStore, data: st.DataObject) -> None:
    path = store.root / current.FILE
    valid = path.read_bytes()
    try:
        path.write_bytes(data.draw(forged(json.loads(valid))))
        shown(store)
        one_line(lambda: current.roll_back(store))
        one_line(lambda: current.promote(store, NAMES[0]))
    finally:
        path.write_bytes(valid)


@fuzz
@given(data=st.data())
def test_a_record(store: ArtifactStore, data: st.DataObject) -> None:
    (path, *_) = sorted((store.root / "records" / "ingest").iterdir())
    valid = path.read_bytes()
    try:
        path.write_bytes(data.draw(forged(json.loads(valid))))
        record = read_record(path)
        assert record is None or from_text(record.to_text()) == record
        one_line(lambda: store.lookup("ingest", path.stem))
        one_line(lambda: collect(store, keep=1, dry_run=True))
    finally:
        path.write_bytes(valid)


@fuzz
@given(data=st.data())
def test_metrics(store: ArtifactStore, data: st.DataObject) -> None:
    run = find(store, NAMES[1])
    path = store.path(run.artifact("evaluate")) / "metrics.json"
    try:
        path.write_bytes(data.draw(forged(METRICS)))
        shown(store)
    finally:
        path.unlink()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make().save(folder)
    return folder


@fuzz
@given(data=st.data())
def test_the_description_of_a_model(model: Path, data: st.DataObject) -> None:
    path = model / bundle.DESCRIPTION
    valid = path.read_bytes()
    try:
        path.write_bytes(data.draw(forged(json.loads(valid))))
        answers(model)
    finally:
        path.write_bytes(valid)


def answers(folder: Path) -> None:
    """Recommends from a model that loads."""
    loaded = one_line(lambda: bundle.load(folder))
    if isinstance(loaded, bundle.Bundle) and loaded.about.users:
        one_line(lambda: recommend(loaded, loaded.about.users[-1], 3))
        one_line(lambda: similar(loaded, loaded.about.items[-1], 3))
