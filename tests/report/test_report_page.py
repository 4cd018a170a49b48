"""The page in a browser: no requests, no errors, at every width, light and dark, and printed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browsing import expect, visiting

from brmrs.report.page import section
from brmrs.report.run_page import write
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run

MOST_BYTES = 5_000_000
Made = tuple[ArtifactStore, Run, Run]


@pytest.fixture(scope="module")
def file(made: Made) -> Path:
    store, _, run = made
    return write(run, store)


@dataclass(frozen=True)
class Look:
    """How the page is looked at."""

    width: int
    scheme: str


LOOKS = [Look(width, scheme) for width in (400, 1280, 1600) for scheme in ("light", "dark")]


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_it_fits_without_errors_or_requests(browser: Any, file: Path, look: Look) -> None:
    viewport = {"width": look.width, "height": 900}
    with visiting(browser, file.as_uri(), viewport=viewport, color_scheme=look.scheme) as visit:
        visit.tab.goto(file.as_uri())
        wide = visit.tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= look.width
        style = "getComputedStyle(document.body)"
        paper, ink = visit.tab.evaluate(f"[{style}.backgroundColor, {style}.color]")
        assert (_light(paper) > _light(ink)) == (look.scheme == "light")
        figures = visit.tab.locator("figure.chart .still svg")
        assert figures.count() > 10
        assert visit.tab.locator("section").count() > 8
        for box in (each.bounding_box() for each in figures.all()):
            assert box["width"] > 200
            assert box["height"] > 40


def _light(colour: str) -> int:
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


def test_a_figure_gets_a_tooltip_under_the_pointer(browser: Any, file: Path) -> None:
    with visiting(browser, file.as_uri()) as visit:
        visit.tab.goto(file.as_uri())
        figure = visit.tab.locator("#figure-result")
        figure.hover()
        point = figure.locator(".view path[aria-roledescription=point], .view .mark-symbol path")
        expect(point.first).to_be_visible()
        point.first.hover()
        expect(visit.tab.locator(".tip")).to_contain_text("br-mrs")
        # Another figure: the first one is still again.
        visit.tab.locator("#figure-cores").hover()
        expect(visit.tab.locator("#figure-cores .view svg")).to_be_visible()
        expect(figure.locator(".still svg")).to_be_visible()


def test_it_needs_no_script(browser: Any, file: Path) -> None:
    with visiting(browser, file.as_uri(), java_script_enabled=False) as visit:
        visit.tab.goto(file.as_uri())
        assert visit.tab.locator("figure.chart .still svg").count() > 10
        expect(visit.tab.locator("#result .lead")).to_contain_text("br-mrs's first 20")


def test_it_prints_in_light_colours(browser: Any, file: Path) -> None:
    with visiting(browser, file.as_uri(), color_scheme="dark") as visit:
        visit.tab.goto(file.as_uri())
        visit.tab.emulate_media(media="print")
        assert _light(visit.tab.evaluate("getComputedStyle(document.body).color")) == 0
        assert not visit.tab.locator("nav").is_visible()
        assert visit.tab.pdf(format="A4").startswith(b"%PDF")


def test_nothing_is_cut_off_on_paper(browser: Any, file: Path) -> None:
    """A4 with the margins of the style sheet is 695 pixels wide, and paper does not scroll."""
    with visiting(browser, file.as_uri(), viewport={"width": 695, "height": 1000}) as visit:
        visit.tab.goto(file.as_uri())
        visit.tab.emulate_media(media="print")
        wide = """[...document.querySelectorAll("table, svg, .tiles")]
            .filter(each => each.checkVisibility())
            .map(each => each.getBoundingClientRect().right)"""
        ends = visit.tab.evaluate(wide)
        assert len(ends) > 20
        assert max(ends) <= 695 + 1


def test_no_figure_changes_from_render_to_render(made: Made, page: str) -> None:
    """The second run was rendered in the same process; ids of the figures are not counted on."""
    store, _, run = made
    other = (store.path(run.artifact("report")) / "report.html").read_text(encoding="utf-8")
    one, two = (
        re.search(r'<figure class="chart" id="figure-degrees">.*?</figure>', each, re.DOTALL)
        for each in (page, other)
    )
    assert one is not None
    assert two is not None
    assert one[0] == two[0]
    ids = re.findall(r' id="([^"]+)"', page.partition("<script>")[0])
    assert len(ids) == len(set(ids))


def test_it_is_one_file_of_less_than_five_megabytes(file: Path, page: str) -> None:
    assert file.stat().st_size < MOST_BYTES
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "default-src" in policy[1]
    assert "unsafe" not in policy[1]
    without_script = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "://" not in without_script.replace("http://www.w3.org", "")


def test_texts_of_the_data_are_no_markup() -> None:
    card = {"picture": "", "title": "<script>alert(1)</script>", "kind": "<b>", "note": ""}
    story = {
        "user_id": "<!-- brmrs: run -->",
        "history": [card | {"mark": ""}],
        "trained": 1,
        "recommended": [],
        "held_out": [],
        "tested": 0,
    }
    body = section("users", "Users", stories=[story], left_out=0).body
    assert "<script" not in body
    assert "<!--" not in body
    assert "&lt;script&gt;alert(1)" in body
