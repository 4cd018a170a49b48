"""The recall of approximate graphs: on the page, at the end of a run, and by `brmrs show`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from browsing import visiting
from rewritten import rewrite
from typer.testing import CliRunner

from brmrs.report.of_run import inputs_of
from brmrs.report.stage import render
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from flows.cli import tables
from flows.cli.app import app
from flows.cli.console import console

Made = tuple[ArtifactStore, runs.Run, runs.Run]
Approximate = tuple[ArtifactStore, runs.Run]
RECALLS = {"item": 0.9712, "user": 0.912}


@pytest.fixture(scope="module")
def approximate(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Approximate:
    """The first run with the statistics of approximate graphs: one above 95 %, one below."""
    root = tmp_path_factory.mktemp("graphs") / "artifacts"
    shutil.copytree(made[0].root, root)
    store = ArtifactStore(root)

    def change(folder: Path) -> None:
        path = folder / "statistics.json"
        values = json.loads(path.read_text())
        for name, share in RECALLS.items():
            values[name]["recall_of_exact"] = share
        path.write_text(json.dumps(values))

    return store, rewrite(made[1], store, "graphs", change)


def test_exact_graphs_have_no_recall(made: Made, page: str) -> None:
    store, run, _ = made
    assert '<section id="graphs">' in page
    assert "neighbours found" not in page
    assert 'class="warning"' not in page
    assert run.summary(store)["recall_of_exact"] == {}


def test_the_page_shows_the_recall_and_warns(approximate: Approximate) -> None:
    store, run = approximate
    page = render(inputs_of(run, store))
    assert 'data-key="graph.item.recall" value="0.9712">97.1 %<' in page
    assert 'data-key="graph.user.recall" value="0.912">91.2 %<' in page
    (warning,) = (line for line in page.splitlines() if 'class="warning"' in line)
    assert "91.2 %" in warning
    assert "of the user graph" in warning
    assert "item" not in warning
    assert "less than 95 %" in warning


def test_the_end_of_a_run_shows_it(approximate: Approximate) -> None:
    store, run = approximate
    summary = run.summary(store)
    assert summary["recall_of_exact"] == RECALLS
    printer = console()
    with printer.capture() as printed:
        tables.run(printer, summary)
    assert "exact neighbours found: item 97.1%, user 91.2%" in printed.get()
    assert "warning: less than 95% of the exact neighbours in graph user" in printed.get()


def test_show_has_it(approximate: Approximate) -> None:
    store, run = approximate
    command = ["show", run.name, "--artifacts", str(store.root)]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0
    assert "exact neighbours found: item 97.1%, user 91.2%" in shown.output
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert found["recall_of_exact"] == RECALLS


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280, 1600])
def test_the_warning_fits(
    approximate: Approximate, browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    store, run = approximate
    file = tmp_path / "page.html"
    file.write_text(render(inputs_of(run, store)), encoding="utf-8")
    viewport = {"width": width, "height": 900}
    with visiting(browser, file.as_uri(), viewport=viewport, color_scheme=scheme) as visit:
        visit.tab.goto(file.as_uri())
        section = visit.tab.locator("#graphs")
        assert section.locator(".warning").is_visible()
        assert section.bounding_box()["width"] <= width
        assert visit.tab.evaluate("document.documentElement.scrollWidth") <= width
