"""The flow `benchmark` over the small sample, through a real Prefect server."""

import os
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from rich.console import Console

from brmrs.columns import TEST
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.experiments.compare import IncompleteError
from brmrs.experiments.compare_runs import compare_runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import all_runs, find
from flows.benchmark import benchmark
from flows.cli import tables_compare as show_benchmark

pytestmark = pytest.mark.usefixtures("prefect_server", "one_thread")

Runner = Callable[[list[str], list[int]], dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_config: PipelineConfig) -> Path:
    """The small sample's configuration without any texts or pictures: seconds, not a minute."""
    folder = tmp_path_factory.mktemp("benchmark")
    values = yaml.safe_load(small_config.to_yaml())
    values["ingest"]["metadata"] = []
    values["images"]["folder"] = None
    values["model"] = {"name": "lightgcn"}
    (folder / "small.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Runner:
    def runner(models: list[str], seeds: list[int]) -> dict[str, Any]:
        made = benchmark(folder / "small.yaml", models, seeds, [], folder / "artifacts")
        assert isinstance(made, dict)
        return made

    return runner


def trained(folder: Path) -> dict[str, int]:
    """Of each training ever made, the time its record was written."""
    records = (folder / "artifacts" / "records" / "train").glob("*.json")
    return {path.name: path.stat().st_mtime_ns for path in records}


def test_models_and_seeds_are_cached_one_by_one_and_a_failure_stays_its_own(
    run: Runner, folder: Path
) -> None:
    first = run(["lightgcn", "bpr-mf"], [0, 1])
    rows = {row["model"]: row for row in first["rows"]}
    assert list(rows) == ["lightgcn", "bpr-mf"]
    for row in rows.values():
        assert row["seeds"] == [0, 1]
        assert row["faults"] == []
        assert row["seconds_per_epoch"]["mean"] > 0
        assert row["test"]["recall@20"]["deviation"] is not None
    against = rows["bpr-mf"]["against_reference"]
    assert against["p_holm"] == against["p"]  # one comparison
    assert against["low"] <= against["difference"] <= against["high"]
    assert "against_reference" not in rows["lightgcn"]
    means = [row["test"][first["headline"]]["mean"] for row in rows.values()]
    difference = rows["bpr-mf"]["against_reference"]["difference"]
    assert difference == pytest.approx(means[1] - means[0])

    before = trained(folder)
    assert len(before) == 4
    again = run(["lightgcn", "bpr-mf"], [0, 1])
    assert trained(folder) == before
    assert {row["model"]: row["test"] for row in again["rows"]} == {
        name: row["test"] for name, row in rows.items()
    }
    assert again["rows"][0]["seconds_per_epoch"] == rows["lightgcn"]["seconds_per_epoch"]

    with pytest.raises(IncompleteError, match="br-mrs: seed 0: model br-mrs needs") as error:
        run(["lightgcn", "br-mrs", "most-popular"], [0])  # nothing has a text or a picture
    table = error.value.table
    assert [len(row["seeds"]) for row in table["rows"]] == [1, 0, 1]
    assert trained(folder).keys() > before.keys()
    assert len(trained(folder)) == 5  # most-popular alone is new

    store = ArtifactStore(folder / "artifacts")
    newest = next(iter(all_runs(store)))
    assert newest.config["model"]["name"] == "most-popular"
    assert set(newest.stages) == {
        "ingest",
        "split",
        "train",
        "evaluate",
    }  # no `publish`, so `brmrs recommend` does not ask it
    _compare_the_runs(store, rows)
    listed = {each.name: each.summary(store) for each in all_runs(store)}
    assert [listed[name]["seed"] for name in rows["bpr-mf"]["runs"]] == [0, 1]

    text = StringIO()
    show_benchmark.benchmark(Console(file=text, width=200), table)
    assert "br-mrs failed, seed 0: model br-mrs needs" in text.getvalue()
    assert "0 of 1" in text.getvalue()
    assert "features: none is read" in text.getvalue()
    assert "positives: every rating, one star included" in text.getvalue()
    assert all(row["learned_from"] in ("", "interactions only") for row in table["rows"])
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts()
        runs = client.read_flow_runs()
    assert "benchmark" in {each.key for each in artifacts}
    assert {"COMPLETED", "FAILED"} <= {each.state_type.value for each in runs if each.state_type}


def _compare_the_runs(store: ArtifactStore, rows: dict[str, Any]) -> None:
    """`brmrs compare` of finished runs agrees with their metrics and their per-user tables."""
    names = [*rows["lightgcn"]["runs"], *rows["bpr-mf"]["runs"]]
    runs = [find(store, name) for name in names]
    found = compare_runs(runs, store, TEST)
    assert found["comparisons"] == 3 * len(found["metrics"]) == 6
    assert [row["run"] for row in found["rows"]] == names
    for run, row in zip(runs, found["rows"], strict=True):
        measured = run.metrics(store)["test"]
        for metric in found["metrics"]:
            assert row["values"][metric] == pytest.approx(measured[metric])
    first, last = found["rows"][0], found["rows"][-1]
    assert first["against_first"] == {}
    for metric, against in last["against_first"].items():
        difference = last["values"][metric] - first["values"][metric]
        assert against["difference"] == pytest.approx(difference)
        assert against["p"] <= against["p_bh"] <= against["p_holm"]
    text = StringIO()
    show_benchmark.runs(Console(file=text, width=80), found)
    assert all(len(line) <= 80 for line in text.getvalue().splitlines()[:10])

    ingest = runs[0].stages["ingest"]
    files = {**ingest.artifact.files, "users.parquet": "0" * 64}
    moved = replace(ingest, artifact=replace(ingest.artifact, files=files))
    other = replace(runs[1], stages={**runs[1].stages, "ingest": moved})
    with pytest.raises(UserError, match=rf"run {names[1]} \(small\) has other users than"):
        compare_runs([runs[0], other], store, TEST)
    cold = replace(runs[1], config={**runs[1].config, "split": {"protocol": "cold-items"}})
    with pytest.raises(UserError, match="rank different items"):
        compare_runs([runs[0], cold], store, TEST)
    with pytest.raises(UserError, match="at least two"):
        compare_runs(runs[:1], store, TEST)
    with pytest.raises(UserError, match="is a benchmark run and has no evaluate stage"):
        stages = {name: each for name, each in runs[1].stages.items() if name != "evaluate"}
        compare_runs([runs[0], replace(runs[1], stages=stages)], store, TEST)


def test_one_that_may_not_overlap_is_refused(folder: Path) -> None:
    with ArtifactStore(folder / "artifacts").running("somebody else"):
        state: Any = benchmark(
            folder / "small.yaml",
            ["lightgcn"],
            [0],
            ["concurrency=refuse"],
            folder / "artifacts",
            return_state=True,
        )
    assert (state.type.value, state.name) == ("CANCELLED", "Refused")
    assert "somebody else (process" in state.message


def test_the_deployment_names_a_flow_and_models_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(__file__).parents[2]
    described = yaml.safe_load((root / "prefect.yaml").read_text())["deployments"]
    (deployment,) = [each for each in described if each["name"] == "benchmark"]
    assert deployment["entrypoint"] == "flows.benchmark.benchmark"
    monkeypatch.chdir(root)
    assert os.path.isfile(deployment["parameters"]["config"])
    benchmark.validate_parameters(deployment["parameters"])
