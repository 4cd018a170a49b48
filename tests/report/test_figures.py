"""The figures: valid Vega-Lite, unique ids, and colours that a file of its own knows."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from brmrs.report import figures
from brmrs.report.numbers import Table, number

SPAN = {"value": 0.4, "low": 0.3, "high": 0.5}
CHARTS: dict[str, Any] = {
    "dots": figures.dots([{"name": "a", "series": "fused", "text": "0.4", **SPAN}], "recall"),
    "difference": figures.dots([{"name": "a", "series": "x", "text": "", **SPAN}], "x", zero=False),
    "lines": figures.lines(
        [{"series": "users", "x": x, "y": 1 / x} for x in (1, 2, 30)], "d", "share", log=True
    ),
    "marked": figures.lines(
        [{"series": name, "x": x, "y": x / 9} for name in "ab" for x in range(9)],
        "epoch",
        "recall",
        mark=(3, "best"),
    ),
    "stacked": figures.stacked(
        [
            {"series": "a", "start": "2020-01-01", "end": "2020-02-01", "count": 1, "place": 0},
            {"series": "b", "start": "2020-01-01", "end": "2020-02-01", "count": 2, "place": 1},
        ],
        "month",
        "interactions",
    ),
    "grouped": figures.grouped([{"group": "g", "series": "text", **SPAN}], "recall"),
    "shares": figures.shares(
        [{"group": "g", "series": "a", "share": 1.0, "place": 0}], "share", {"a": "ink"}
    ),
    "density": figures.density([{"x0": 0, "x1": 1, "y0": 0, "y1": 1, "share": 0.5}], "x", "y"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_each_kind_is_valid_vega_lite(name: str) -> None:
    assert CHARTS[name].to_dict()["$schema"]  # altair validates; figures.figure does not


@pytest.mark.parametrize("name", CHARTS)
def test_each_kind_is_drawn(name: str) -> None:
    made = figures.figure(name, "title", CHARTS[name], number("a", 1.0), Table([], []))
    assert made.svg.startswith("<svg")
    assert set(re.findall(r"var\(--(\w+)\)", made.svg)) <= set(figures.LIGHT)
    assert "var(" not in figures.standalone(made)
    assert all(each.startswith(name) for each in re.findall(r' id="([^"]+)"', made.svg))


@pytest.mark.parametrize("kind", ["dots", "grouped", "lines"])
def test_axis_labels_have_the_values_of_their_ticks(kind: str) -> None:
    """With a step of 0.02, the tick at 0.12 was labelled 0.1."""
    rows = [
        {"name": "a", "group": "a", "series": "fused", "value": top, "low": top, "high": top}
        | {"text": "", "x": top * 100, "y": top}
        for top in (0.02, 0.1139)
    ]
    chart = (
        figures.lines(rows, "epoch", "recall")
        if kind == "lines"
        else getattr(figures, kind)(rows, "recall")
    )
    found = figures.figure("one", "One", chart, number("a", 1.0), Table([], []))
    labels = [float(text) for text in re.findall(r"<text[^>]*>(0(?:\.\d+)?)</text>", found.svg)]
    steps = {round(after - before, 9) for before, after in pairwise(labels) if after > before}
    assert len(labels) == len(set(labels)) > 3
    assert len(steps) == 1


def test_texts_of_the_data_end_no_element() -> None:
    text = "</script><script>alert(1)//"
    chart = figures.dots([{"name": text, "series": "fused", "text": text, **SPAN}], "recall")
    made = figures.figure("x", "title", chart, number("a", 1.0), Table([], []))
    assert "<script" not in made.svg
    assert "</" not in made.spec
    assert text in json.dumps(json.loads(made.spec))


def test_texts_of_the_data_that_look_like_ids_stay() -> None:
    text = 'url(#y id="z'
    chart = figures.dots([{"name": "a", "series": "fused", "text": text, **SPAN}], "recall")
    made = figures.figure("x", "title", chart, number("a", 1.0), Table([], []))
    assert "url(#y" in made.svg


def test_the_style_sheet_has_the_colours_of_a_file() -> None:
    css = (Path(figures.__file__).parent / "page.css").read_text()
    first = css.partition("}")[0]
    found = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", first))
    assert figures.LIGHT.items() <= found.items()


def test_the_branches_differ_in_grey() -> None:
    """Their lightness, by the weights of the sRGB channels, is at least 20 of 255 apart."""
    colours = [figures.LIGHT[name] for name in ("fused", "text", "visual", "baseline")]
    light = [
        sum(w * int(c[i : i + 2], 16) for w, i in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))
        for c in colours
    ]
    gaps = [later - earlier for earlier, later in pairwise(light)]
    assert min(gaps) > 20
