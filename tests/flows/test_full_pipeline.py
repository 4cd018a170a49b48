"""The flow over a small sample dump, through a real Prefect server."""

import json
import logging
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort

from brmrs import columns
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.stages import BY_NAME, STAGES
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import latest
from flows.full_pipeline import full_pipeline
from tasks import progress
from tasks import stage as stage_tasks

ALL = [stage.name for stage in STAGES]
pytestmark = pytest.mark.usefixtures("prefect_server")

Runner = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flow") / "artifacts"


@pytest.fixture(scope="module")
def run(artifacts: Path, small_config: PipelineConfig, prefect_server: None) -> Runner:
    """Run the flow with some sections changed; the first run has been made."""

    def runner(**changes: dict[str, Any]) -> dict[str, Any]:
        changed = small_config.model_dump(mode="json")
        options = {name: changes.pop(name) for name in ("until", "refresh") if name in changes}
        for section, fields in changes.items():
            changed[section] = {**changed[section], **fields}
        flow: Any = full_pipeline
        summary: dict[str, Any] = flow(artifacts=artifacts, **options, **changed)
        return summary

    assert ran(runner()) == ALL
    return runner


def ran(summary: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in summary["stages"] if stage["state"] == "ran"]


def test_sections_that_do_not_go_with_the_file_are_told(
    tmp_path: Path, small_config: PipelineConfig
) -> None:
    """Each may be right by itself: the file sets weights, the parameter a backbone with its own."""
    (tmp_path / "small.yaml").write_text(small_config.to_yaml())
    given = {"visual": {"backbone": "somebody/clip"}}
    with pytest.raises(UserError, match="somebody/clip has its own weights"):
        full_pipeline(config=tmp_path / "small.yaml", features=given)


def test_a_second_run_is_all_cached(run: Runner) -> None:
    summary = run()
    assert ran(summary) == []
    assert [stage["name"] for stage in summary["stages"]] == ALL


def test_the_summary_tells_metrics_and_where_things_lie(run: Runner) -> None:
    summary = run()
    assert set(summary["coverage"]) == {"text", "visual"}
    assert 0 < summary["coverage"]["visual"]["interactions"] < 1
    assert set(summary["metrics"]) == {"test", "validation"}
    assert 0 <= summary["metrics"]["test"]["recall@20"] <= 1
    for stage in summary["stages"]:
        files = [path for path in Path(stage["path"]).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) == stage["bytes"]


def test_another_learning_rate_reruns_training_and_what_follows(run: Runner) -> None:
    assert ran(run(train={"learning_rate": 0.0123})) == [
        "train",
        "evaluate",
        "diagnosis",
        "publish",
        "report",
    ]


def test_until_stops_there(run: Runner) -> None:
    summary = run(until="graphs")
    assert [stage["name"] for stage in summary["stages"]] == ALL[: ALL.index("graphs") + 1]
    assert summary["metrics"] == {}


def test_refresh_runs_a_cached_stage_and_equal_bytes_stop_there(run: Runner) -> None:
    assert ran(run(refresh=("split",))) == ["split"]


def test_pictures_that_may_still_come_are_asked_for_by_every_run(
    run: Runner, tmp_path: Path
) -> None:
    review = {"user_id": "U", "parent_asin": "B", "rating": 5.0, "timestamp": 1}
    nobody = "http://127.0.0.1:9/a.jpg"  # listens there
    item = {"parent_asin": "B", "title": "a lamp", "images": [{"large": nobody}]}
    for name, line in (("reviews", review), ("metadata", item)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    paths = {name: str(tmp_path / f"{name}.jsonl") for name in ("reviews", "metadata")}
    web = {"folder": None, "fetch": True, "allow_private": True, "retries": 0}
    runs = [
        ran(run(ingest={**paths, "k": 0}, images=web, until="visual_features")) for _ in range(2)
    ]
    assert runs[0] == ["ingest", "images", "visual_training", "visual_features"]
    assert runs[1] == ["images"]  # the same bytes as before: nothing behind it runs


@pytest.mark.parametrize("name", ["split", "train"])
def test_damage_rebuilds_exactly_that_stage(run: Runner, artifacts: Path, name: str) -> None:
    store = ArtifactStore(artifacts)
    artifact = latest(store, name).artifact(name)
    file = store.path(artifact) / sorted(artifact.files)[0]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert ran(run()) == [name]
    assert store.verify(artifact, full=True)


def test_a_fault_of_the_user_names_itself_and_keeps_finished_stages(run: Runner) -> None:
    with pytest.raises(UserError, match=r"ingest\.k"):
        run(ingest={"k": 1000})
    with pytest.raises(UserError, match=r"features\.visual"):
        run(features={"visual": {"weights": "pretrained", "weights_path": "nowhere.pth"}})
    assert ran(run()) == []


def test_prefect_shows_the_run_its_tasks_and_artifacts(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)  # every piece of work is then a long one
    run(train={"learning_rate": 0.02})
    with get_client(sync_client=True) as client:
        (flow_run, *_) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        artifacts = {
            each.key: each for each in client.read_artifacts() if each.flow_run_id == flow_run.id
        }
    assert flow_run.name == "small-br-mrs"
    assert {"small", "br-mrs"} <= set(flow_run.tags)
    assert {
        "run-summary",
        "headline",
        "comparison",
        "metrics",
        "report",
        "training-curve",
    } <= set(artifacts)
    assert all(each.description for each in artifacts.values())
    assert "**br-mrs** on small: test recall@20 **0." in str(artifacts["headline"].data)
    (first, _) = json.loads(str(artifacts["comparison"].data))
    assert first["metric"] == "test recall@20"
    assert first["difference"][0] in "+-"
    address = str(artifacts["report"].data).partition("](")[2].partition(")")[0]
    assert address.startswith("file:///")
    page = Path(url2pathname(urlsplit(address).path)).read_text()
    assert "Compared with the previous run" in page
    assert "→ 0.02" in page
    assert artifacts["progress-train"].data == 100
    assert artifacts["progress-train"].task_run_id is not None


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ConnectionResetError(), 3),
        (httpx.ConnectTimeout("no answer"), 3),
        (HTTPError("https://example.org", 404, "not found", Message(), None), 1),
        (ValueError("a bug"), 1),
    ],
    ids=["reset", "no answer", "an answer", "a bug"],
)
def test_a_stage_is_tried_again_where_the_network_failed_and_nowhere_else(
    run: Runner, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int
) -> None:
    """What a stage makes of the fault does not matter; that it fails at once else, does."""
    tried = []

    def fail(*arguments: object, **options: object) -> None:
        tried.append(1)
        raise UserError("features.text.model: it cannot be had") from error

    monkeypatch.setattr(stage_tasks, "execute", fail)
    monkeypatch.setattr(stage_tasks, "SECONDS_BETWEEN_TRIES", [0.0, 0.0])
    with pytest.raises(UserError, match="cannot be had"):
        run(until="ingest", refresh=("ingest",))
    assert len(tried) == tries


def test_a_report_that_cannot_be_written_is_a_warning_and_the_run_is_complete(
    run: Runner, artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, aside = artifacts / "reports", artifacts / "aside"
    folder.rename(aside)
    folder.write_text("no folder")
    try:
        with caplog.at_level(logging.WARNING, logger="flows.server.page"):
            summary = run(until="report")
    finally:
        folder.unlink()
        aside.rename(folder)
    (told,) = [each.getMessage() for each in caplog.records if each.name == "flows.server.page"]
    assert "was not written" in told
    assert f"brmrs report {summary['run']}" in told
    assert summary["report"] is None
    assert not summary["failed"]
    newest = latest(ArtifactStore(artifacts), "report")
    assert newest.name == summary["run"]


def test_recommendations_hold_no_training_item_and_k_per_user(
    run: Runner, small_config: PipelineConfig
) -> None:
    folders = {stage["name"]: Path(stage["path"]) for stage in run()["stages"]}
    rows = pq.read_table(folders["publish"] / "recommendations.parquet").to_pylist()
    split = pq.read_table(folders["split"] / "interactions.parquet").to_pylist()
    train = {
        (row[columns.USER], row[columns.ITEM])
        for row in split
        if row[columns.SPLIT] == columns.TRAIN
    }
    assert not train & {(row[columns.USER], row[columns.ITEM]) for row in rows}
    users = {row[columns.USER] for row in split}
    assert len(rows) == len(users) * small_config.publish.k


def test_the_report_is_one_file_that_names_random_weights(run: Runner) -> None:
    folders = {stage["name"]: Path(stage["path"]) for stage in run()["stages"]}
    page = (folders["report"] / "report.html").read_text()
    meta = json.loads((folders["visual_features"] / "meta.json").read_text())
    assert "random weights" in meta["label"]
    assert meta["label"] in page
    assert 'src="data:image/jpeg' in page
    assert "://" not in page.partition("<script>")[0].replace("http://www.w3.org", "")
    assert BY_NAME["report"].module == "brmrs.report.stage"
