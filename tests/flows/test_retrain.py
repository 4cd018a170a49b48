"""The flow `retrain` over monthly dumps, through a real Prefect server."""

import gzip
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from rich.console import Console

from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest.amazon.records import RejectedError
from brmrs.ingest.amazon.reviews import parse
from brmrs.models.bundle import load
from brmrs.serving.current import read, roll_back, serving
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import all_runs, find
from flows.cli.tables import promotions
from flows.retrain import retrain

pytestmark = pytest.mark.usefixtures("prefect_server", "one_thread")

# Returns the flow's end state; words are overrides of the configuration.
Retrain = Callable[..., Any]


def asin(line: bytes) -> str:
    try:
        return parse(line).asin
    except RejectedError:
        return ""


class Months:
    """A folder of monthly dumps that come from one dump.

    Attributes:
        folder: where they lie.
        lines: of the dump, those of one item last: about a hundredth of all.
        known: the share of the lines before them.
    """

    def __init__(self, folder: Path, dump: Path):
        folder.mkdir()
        self.folder = folder
        lines = gzip.decompress(dump.read_bytes()).splitlines(keepends=True)
        reviewed = Counter(map(asin, lines))
        new = min(reviewed, key=lambda item: abs(reviewed[item] - len(lines) / 100))
        self.lines = sorted(lines, key=lambda line: asin(line) == new)
        self.known = 1 - reviewed[new] / len(lines)

    def add(self, name: str, start: float, end: float) -> Path:
        """A file with this share of the lines, at rest for an hour."""
        count = len(self.lines)
        part = self.lines[round(start * count) : round(end * count)]
        path = self.folder / name
        path.write_bytes(gzip.compress(b"".join(part)))
        os.utime(path, (time.time() - 3600, time.time() - 3600))
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retrain")


@pytest.fixture(scope="module")
def store(place: Path) -> ArtifactStore:
    return ArtifactStore(place / "artifacts")


@pytest.fixture(scope="module")
def months(place: Path, small_sample: Path) -> Months:
    months = Months(place / "monthly", small_sample / "reviews.jsonl.gz")
    months.add("2026-01.jsonl.gz", 0, months.known)
    return months


@pytest.fixture(scope="module")
def run(months: Months, place: Path, small_config: PipelineConfig, prefect_server: None) -> Retrain:
    """The first retraining has been made, with a model that is easily beaten."""
    values = small_config.model_dump()
    values["ingest"] |= {"reviews": (months.folder,)}
    values["split"] |= {"protocol": "leave-last-out"}
    values["images"] |= {"folder": None}  # no pictures: no backbone
    values["model"] = {"name": "lightgcn", "dim": 8}
    values["train"] |= {"epochs": 60, "patience": 60, "learning_rate": 0.02}
    values["retrain"] |= {"warm_start": True, "metric": "recall@5", "at_rest": 0.0}
    values["retrain"] |= {"min_users": 10, "margin": 0.05}
    (place / "monthly.yaml").write_text(PipelineConfig.model_validate(values).to_yaml())

    def runner(*overrides: str, **parameters: Any) -> Any:
        return retrain(
            place / "monthly.yaml",
            overrides=overrides,
            artifacts=place / "artifacts",
            return_state=True,
            **parameters,
        )

    gone = runner(f"ingest.reviews={place / 'gone'}")
    assert gone.is_failed()
    with pytest.raises(UserError, match="gone: no such file; correct the path"):
        gone.result()
    first = runner()
    message = "first model: no run of this data set was served before"
    assert (first.name, first.message) == ("Promoted", message)
    return runner


def test_the_same_bytes_run_no_stage(run: Retrain, months: Months, store: ArtifactStore) -> None:
    before = len(list(all_runs(store)))
    assert run().name == "NoNewData"
    copy = months.folder / "copy.jsonl.gz"
    copy.write_bytes((months.folder / "2026-01.jsonl.gz").read_bytes())
    assert run(path=str(copy)).name == "NoNewData"
    half = months.folder / "half.jsonl.gz"
    half.write_bytes(copy.read_bytes()[:1000])
    assert run().name == "NoNewData"
    copy.unlink()
    half.unlink()
    assert len(list(all_runs(store))) == before
    assert len(read(store).history) == 1


def test_a_place_that_is_gone_is_a_fault(run: Retrain, months: Months) -> None:
    elsewhere = months.folder.rename(months.folder.with_name("elsewhere"))
    with pytest.raises(UserError, match="no such file"):
        run().result()
    elsewhere.rename(months.folder)


def test_a_run_that_may_not_overlap_is_refused(run: Retrain, store: ArtifactStore) -> None:
    with store.running("somebody else"):
        state = run("concurrency=refuse")
    assert (state.type.value, state.name) == ("CANCELLED", "Refused")
    assert "somebody else (process" in state.message
    with pytest.raises(UserError, match="somebody else"):
        state.result()


def test_one_hundredth_more_reviews_are_trained_on_and_judged(
    run: Retrain, months: Months, store: ArtifactStore
) -> None:
    (earlier,) = read(store).served["small"]
    state = run(path=str(months.add("2026-02.jsonl.gz", months.known, 1)))
    assert state.name == "Promoted", state.message
    outcome = state.result()
    assert outcome["comparison"]["against"] == earlier
    assert outcome["comparison"]["users"] > 10
    assert outcome["verdict"] == "not inferior"
    assert serving(store).name == outcome["run"]
    old, new = (find(store, name) for name in (earlier, outcome["run"]))
    assert [file["name"] for file in new.fingerprint["reviews"]["files"]] == [
        "2026-01.jsonl.gz",
        "2026-02.jsonl.gz",
    ]
    about = load(store.path(new.artifact("train"))).about
    assert about.warm_start is not None
    former = load(store.path(old.artifact("train"))).about
    assert about.warm_start.tensors_sha256 == former.tensors_sha256
    assert about.warm_start.users == len(set(about.users) & set(former.users))
    assert set(about.items) > set(former.items)
    assert "text_features" not in new.stages  # LightGCN reads no texts
    assert run().name == "NoNewData"


def test_a_model_shown_worse_is_not_served(run: Retrain, store: ArtifactStore) -> None:
    served = serving(store).name
    state = run("model=most-popular", force=True)
    assert state.name == "NotPromoted"
    outcome = state.result()
    assert outcome["verdict"] == "not shown non-inferior"
    assert outcome["comparison"]["at_least"] <= -outcome["comparison"]["margin"]
    assert serving(store).name == served
    with get_client(sync_client=True) as client:
        promotion = [each for each in client.read_artifacts() if each.key == "promotion"]
    assert any(outcome["reason"] in (each.description or "") for each in promotion)
    assert run().name == "NoNewData", "it is not tried again on the same bytes"
    wide = run("model=most-popular", "retrain.margin=1", force=True)
    assert wide.name == "Promoted"
    assert roll_back(store).name == served
    console = Console(record=True, width=1000)
    promotions(console, read(store))
    shown = console.export_text()
    assert f"served: run {served}" in shown
    for part in ("promoted", "not promoted", "rolled back", outcome["reason"]):
        assert part in shown


def test_other_data_do_not_replace_what_is_served(run: Retrain, store: ArtifactStore) -> None:
    served = serving(store, "small").name
    state = run("name=other", force=True)
    assert state.message == "first model: no run of this data set was served before"
    assert serving(store, "small").name == served
    assert serving(store, "other").name == state.result()["run"]
    with pytest.raises(UserError, match=r"several data sets \(other, small\); choose by --data"):
        serving(store)


def test_a_served_model_that_cannot_be_read_keeps_being_served(
    run: Retrain, store: ArtifactStore
) -> None:
    """The last test: it damages the model."""
    served = serving(store, "small")
    file = store.path(served.artifact("train")) / "bundle.json"
    file.write_text("{}")
    state = run("model=most-popular", force=True)
    assert state.name == "NotPromoted"
    assert state.result()["verdict"] == "served model unreadable"
    assert f"`brmrs promote {state.result()['run']}`" in state.result()["reason"]
    assert read(store).served["small"][-1] == served.name
