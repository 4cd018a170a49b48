"""Artifacts that were changed before they were handed on: one line each, and no markup."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from forge import forged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brmrs.errors import UserError
from brmrs.report.inputs import Inputs
from brmrs.report.of_run import inputs_of
from brmrs.report.results import lists, result
from brmrs.report.stage import render
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore

Made = tuple[ArtifactStore, runs.Run, runs.Run]
Change = Callable[[Any], Any]


def without(*path: str) -> Change:
    """Remove a field."""

    def change(values: Any) -> Any:
        inside = values
        for name in path[:-1]:
            inside = inside[name]
        del inside[path[-1]]
        return values

    return change


def with_(value: Any, *path: str) -> Change:
    """Set a field."""

    def change(values: Any) -> Any:
        inside = values
        for name in path[:-1]:
            inside = inside[name]
        inside[path[-1]] = value
        return values

    return change


def changed(made: Made, folder: Path, read: str, content: bytes) -> Inputs:
    """The inputs of the first run, with one file replaced."""
    store, run, _ = made
    inputs = inputs_of(run, store)
    stage, _, file = read.partition("/")
    if read in inputs.paths:
        (folder / file).write_bytes(content)
        return Inputs({**inputs.paths, read: folder / file}, inputs.config)
    for path in inputs.paths[stage].iterdir():
        if path.name != file:
            (folder / path.name).symlink_to(path)
    (folder / file).write_bytes(content)
    return Inputs({**inputs.paths, stage: folder}, inputs.config)


def file_of(made: Made, read: str) -> Path:
    store, run, _ = made
    inputs, (stage, _, file) = inputs_of(run, store), read.partition("/")
    return inputs.paths.get(read) or inputs.paths[stage] / file


METRICS, DIAGNOSIS = "evaluate/metrics.json", "diagnosis/diagnosis.json"
STATISTICS, BUNDLE = "ingest/statistics.json", "train/bundle.json"
STATUSES, SHARED = "images/statistics.json", "images/shared.json"
VECTORS, GRAPHS = "text_features/meta.json", "graphs/statistics.json"
# The attribute of `Inputs` that reads each file; the page is made from these attributes only.
ATTRIBUTE = {
    METRICS: "metrics",
    DIAGNOSIS: "diagnosis",
    STATISTICS: "statistics",
    BUNDLE: "bundle",
    STATUSES: "statuses",
    SHARED: "shared_pictures",
    VECTORS: "features",
    GRAPHS: "graphs",
}


@pytest.mark.parametrize(
    ("read", "change"),
    [
        (METRICS, lambda values: [values]),
        (METRICS, without("branches")),
        (METRICS, without("branches", "fused")),
        (METRICS, without("baseline", "most-popular", "test")),
        (METRICS, without("intervals")),
        (METRICS, without("branches", "text", "test", "recall@20")),
        (METRICS, with_({}, "test")),
        (METRICS, with_("<script>", "test", "recall@20")),
        (METRICS, with_(0.5, "test", "<b>@20")),
        (METRICS, with_([0.1], "intervals", "fused", "test", "recall@20")),
        (METRICS, with_({"test": {"gini": "high"}}, "lists", "fused")),
        (METRICS, with_(["protocol"], "definitions")),
        (METRICS, with_(10**30, "users", "test")),
        (DIAGNOSIS, with_({}, "sets")),
        (DIAGNOSIS, with_("<script>", "k")),
        (DIAGNOSIS, without("samplers", "uniform")),
        (DIAGNOSIS, with_([], "information", "parts")),
        (STATISTICS, with_(0, "before_k_core", "users")),
        (STATISTICS, with_([{"k": 1}], "cores")),
        (STATISTICS, with_({"late": "<b>"}, "reviews", "quarantined")),
        (BUNDLE, with_("br-mrs", "model")),
        (BUNDLE, with_({"text": 1}, "features")),
        (STATUSES, with_("many", "ok")),
        (SHARED, with_({}, "most")),
        (VECTORS, without("label")),
        (GRAPHS, without("user")),
        (GRAPHS, with_(1.5, "item", "recall_of_exact")),
        (GRAPHS, with_("<b>", "text", "nodes")),
    ],
)
def test_an_odd_file_is_one_line(made: Made, tmp_path: Path, read: str, change: Change) -> None:
    values = change(json.loads(file_of(made, read).read_bytes()))
    inputs = changed(made, tmp_path, read, json.dumps(values).encode())
    with pytest.raises(UserError, match="run the pipeline again") as caught:
        getattr(inputs, ATTRIBUTE[read])
    assert "\n" not in str(caught.value)
    assert read.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 50, b"\xff", b'{"test": NaN}'])
def test_a_damaged_file_is_one_line(made: Made, tmp_path: Path, content: bytes) -> None:
    for read, attribute in ATTRIBUTE.items():
        folder = tmp_path / attribute
        folder.mkdir()
        with pytest.raises(UserError, match="run the pipeline again"):
            getattr(changed(made, folder, read, content), attribute)


@pytest.mark.parametrize(
    ("read", "column", "value"),
    [
        ("diagnosis/pairs.parquet", "user", 10**6),
        ("diagnosis/pairs.parquet", "negative", -7),
        ("publish/recommendations.parquet", "item", -1),
        ("evaluate/strata.parquet", "value", float("nan")),
        ("train/curve.parquet", "value", float("inf")),
    ],
)
def test_a_table_of_unknown_ids_or_numbers_is_one_line(
    made: Made, tmp_path: Path, read: str, column: str, value: float
) -> None:
    table = pq.read_table(file_of(made, read))
    place = table.column_names.index(column)
    kind = table.schema.field(column)
    all_of_it = pc.if_else(pa.scalar(True), pa.scalar(value, kind.type), table[column])
    table = table.set_column(place, kind, all_of_it)
    pq.write_table(table, tmp_path / "table")
    content = (tmp_path / "table").read_bytes()
    (tmp_path / "table").unlink()
    with pytest.raises(UserError, match=f"column {column} holds") as caught:
        render(changed(made, tmp_path, read, content))
    assert "\n" not in str(caught.value)


def test_texts_of_the_files_are_no_markup(made: Made, tmp_path: Path) -> None:
    odd = "<script>alert(1)</script>"
    values = json.loads(file_of(made, METRICS).read_bytes())
    values["model"] = odd
    values["definitions"] |= {"protocol": odd, "recall": odd, "lists": {"gini": odd}}
    page = render(changed(made, tmp_path, METRICS, json.dumps(values).encode()))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_metrics_that_were_changed_at_random(
    made: Made, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    valid = json.loads(file_of(made, METRICS).read_bytes())
    content = data.draw(forged(valid))
    inputs = changed(made, tmp_path_factory.mktemp("forged"), METRICS, content)
    try:
        sections = [result(inputs), lists(inputs)]
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert all(each.body for each in sections)
