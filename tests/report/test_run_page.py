"""The report of a run: its name, the previous run, lineage; and several runs side by side."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from browsing import visiting
from report_numbers import Numbers, wrong
from typer.testing import CliRunner

from brmrs.errors import UserError
from brmrs.report.of_run import REQUIRED
from brmrs.report.previous import previous
from brmrs.report.run_page import PAGE, RUN, write
from brmrs.report.side_by_side import write as write_side_by_side
from brmrs.serving.housekeeping import collect
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from flows.cli.app import app

Made = tuple[ArtifactStore, runs.Run, runs.Run]


def test_a_page_names_its_run_and_the_run_that_rendered_it(made: Made) -> None:
    store, first, _ = made
    text = write(first, store).read_text()
    assert f'Run <span class="id">{first.name}</span>' in text
    assert "rendered in this run" in text
    assert "There is no earlier evaluated run" in text
    # A later run with the same inputs has the same artifact.
    later = runs.Run(**{**vars(first), "name": runs.new_name(store)})
    text = write(later, store).read_text()
    assert f'rendered in run <span class="id">{first.name}</span>' in text


def test_the_previous_run_is_compared(made: Made) -> None:
    store, first, second = made
    found = previous(second, store)
    assert found is not None
    assert found.name == first.name
    text = write(second, store).read_text()
    assert "train.learning_rate: 0.001 → 0.05" in text
    own, other = (
        json.loads((store.path(run.artifact("evaluate")) / "metrics.json").read_text())["test"]
        for run in (second, first)
    )
    difference = own["recall@20"] - other["recall@20"]
    key = '<data data-key="previous.recall@20.difference" value="'
    value = float(text.partition(key)[2].partition('"')[0])
    assert value == pytest.approx(difference, abs=1e-12)


def test_a_damaged_previous_run_is_named_on_the_page(made: Made, tmp_path: Path) -> None:
    store, first, second = made
    copy = ArtifactStore(tmp_path / "store")
    shutil.copytree(store.root, copy.root)
    (copy.path(first.artifact("evaluate")) / "per_user.parquet").write_bytes(b"PAR1")
    text = write(second, copy).read_text()
    assert "No comparison: " in text
    assert "per_user.parquet: no table of a run" in text


def test_lineage_shows_every_stage_and_its_origin(made: Made) -> None:
    store, first, second = made
    text = write(second, store).read_text()
    for record in second.stages.values():
        assert record.artifact.digest[:12] in text
    assert second.stages["ingest"].run == first.name
    assert text.count(f'<span class="id">{first.name}</span>') >= 5


def test_equal_results_are_said_to_be_equal(made: Made) -> None:
    store, _, second = made
    later = runs.Run(**{**vars(second), "name": runs.new_name(store)})
    assert "byte for byte" in write(later, store).read_text()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", f"{RUN}{RUN}".encode(), b"old page"])
def test_another_page_is_refused_in_one_line(made: Made, tmp_path: Path, content: bytes) -> None:
    _, first, _ = made
    copy = ArtifactStore(tmp_path / "store")
    target = copy.path(first.artifact("report"), PAGE)
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    with pytest.raises(UserError, match="run the pipeline again"):
        write(first, copy)
    target.unlink()
    with pytest.raises(UserError, match="run the pipeline again"):
        write(first, copy)


def test_a_run_without_report_is_refused(made: Made) -> None:
    store, first, second = made
    stages = {name: record for name, record in first.stages.items() if name != "report"}
    with pytest.raises(UserError, match="did not reach report"):
        write(runs.Run(**{**vars(first), "stages": stages}), store)
    other = runs.Run(**{**vars(first), "stages": stages, "kind": "benchmark"})
    told = rf"a benchmark run and has no report stage; .*: brmrs report {second.name}$"
    with pytest.raises(UserError, match=told):
        write(other, store)


def test_a_run_without_what_a_page_of_several_needs_is_refused(made: Made) -> None:
    store, first, second = made
    stages = {name: first.stages[name] for name in ("ingest", "split", "train", "evaluate")}
    other = runs.Run(**{**vars(first), "stages": stages, "kind": "tune"})
    assert not set(REQUIRED) - set(second.stages)
    told = rf"is a tune run and has no diagnosis stage; .* that has it is {second.name}$"
    with pytest.raises(UserError, match=told):
        write_side_by_side([second, other], store, 0)


def test_side_by_side(made: Made, browser: Any, tmp_path: Path) -> None:
    store, first, second = made
    path = write_side_by_side([first, second], store, users=2)
    assert path.stem == f"{first.name}+{second.name}"
    text = path.read_text()
    for run in (first, second):
        assert f"br-mrs {run.name[-8:]}" in text
    assert text.count('<div class="story">') == 2
    assert "learning_rate: 0.001 → 0.05" in text
    with visiting(browser, path.as_uri()) as visit:
        visit.tab.goto(path.as_uri())
        assert visit.tab.locator("#figure-runs svg").count() == 1
    assert write_side_by_side([first, second], store, 0, tmp_path / "x.html").is_file()
    assert '<div class="story">' not in (tmp_path / "x.html").read_text()


def test_side_by_side_needs_the_artifacts(made: Made, tmp_path: Path) -> None:
    store, first, second = made
    copy = tmp_path / "store"
    shutil.copytree(store.root, copy)
    shutil.rmtree(ArtifactStore(copy).path(second.artifact("diagnosis")))
    with pytest.raises(UserError, match=r"diagnosis of run .* is missing or damaged"):
        write_side_by_side([first, second], ArtifactStore(copy), 1)


def test_ten_runs_have_a_page_that_goes_with_the_first(made: Made, tmp_path: Path) -> None:
    """All names side by side would exceed the 255 bytes of a file name."""
    store, first, second = made
    copy = ArtifactStore(tmp_path / "store")
    shutil.copytree(store.root, copy.root)
    path = write_side_by_side([first, *[second] * 10], copy, 0)
    assert path.is_file()
    assert path.name.startswith(f"{first.name}+10-others-")
    collect(copy, keep=9)
    assert path.is_file()
    (copy.root / "runs" / f"{first.name}.json").unlink()
    collect(copy, keep=9)
    assert not path.exists()


def test_a_clean_up_leaves_other_files_in_the_folder_of_reports(made: Made, tmp_path: Path) -> None:
    store, first, _ = made
    copy = ArtifactStore(tmp_path / "store")
    shutil.copytree(store.root, copy.root)
    folder = copy.root / "reports"
    folder.mkdir(exist_ok=True)
    own = ["notes.html", f"{first.name}.txt", f"{first.name}+notes.html", "figure.png"]
    for name in own:
        (folder / name).write_text("mine")
    (folder / "20200101-000000-000-abcd.html").write_text("of a run that was removed")
    collect(copy, keep=9)
    assert set(own) <= {path.name for path in folder.iterdir()}
    assert not (folder / "20200101-000000-000-abcd.html").exists()


def test_the_numbers_of_the_run_are_those_of_its_manifest(made: Made) -> None:
    store, _, second = made
    page = write(second, store).read_text()
    manifest = json.loads((store.root / "runs" / f"{second.name}.json").read_text())
    expected = {"run.seconds": manifest["seconds"]}
    for name, record in manifest["stages"].items():
        expected[f"stage.{name}.seconds"] = record["seconds"]
        expected[f"stage.{name}.bytes"] = record["artifact"]["bytes"] / 1000
    for entry, digests in manifest["fingerprint"].items():
        sizes = [file["bytes"] / 1000 for file in digests["files"]]
        for file, size in zip(digests["files"], sizes, strict=True):
            expected[f"file.{entry}.{file['name']}"] = size
        expected[f"files.{entry}"] = sum(sizes[3:])
    found = [
        (key, value)
        for key, value, _ in Numbers(page).found
        if key.partition(".")[0] in ("run", "stage", "file", "files")
    ]
    assert len(found) > 25
    assert not [fault for key, value in found if (fault := wrong(key, value, expected))]


def test_pages_go_with_their_runs(made: Made, tmp_path: Path) -> None:
    store, first, second = made
    copy = ArtifactStore(tmp_path / "store")
    shutil.copytree(store.root, copy.root)
    for run in (first, second):
        write(run, copy)
    write_side_by_side([first, second], copy, 0)
    newest = next(iter(runs.all_runs(copy)))
    collect(copy, keep=1)
    kept = {path.stem for path in (copy.root / "reports").iterdir()}
    assert kept == {newest.name}


def test_the_command_prints_the_path(made: Made, tmp_path: Path) -> None:
    store, first, second = made
    where = ["--artifacts", str(store.root)]
    done = CliRunner().invoke(app, ["report", second.name, *where])
    assert done.exit_code == 0
    assert Path(done.stdout.replace("\n", "")) == second.report(store)
    to = tmp_path / "both.html"
    words = ["report", first.name, "--compare", second.name, "--users", "1", "--to", str(to)]
    assert CliRunner().invoke(app, [*words, *where]).exit_code == 0
    assert second.name in to.read_text()
    refused = CliRunner().invoke(app, ["report", first.name, "--users", "1", *where])
    assert isinstance(refused.exception, UserError)
