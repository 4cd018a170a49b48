"""Figures of the page as Vega-Lite: an SVG that needs no script, and the data to redraw it.

Colours are variables of the page's style sheet, so a figure follows light, dark and print. Series
differ in lightness, shape and dash as well, so a figure is readable in grey. The same data give the
same bytes: all options are set here, and vl-convert renders without the system's fonts or settings.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from brmrs.columns import BASELINE, FUSED, TEXT, VISUAL
from brmrs.report.numbers import Table

WIDTH = 400  # pixels of the plot area; with its labels it is readable on a screen of 400 pixels
# Colour, shape and dash of each series; the colours are in page.css.
STYLES: dict[str, tuple[str, str, list[int]]] = {
    FUSED: ("var(--fused)", "circle", [1, 0]),
    TEXT: ("var(--text)", "square", [6, 3]),
    VISUAL: ("var(--visual)", "triangle-up", [2, 2]),
    BASELINE: ("var(--baseline)", "diamond", [8, 3, 2, 3]),
}
# Of series that are no branches: hues are kept for the branches.
NEUTRAL: tuple[tuple[str, str, list[int]], ...] = (
    ("var(--ink)", "circle", [1, 0]),
    ("var(--soft)", "square", [6, 3]),
    ("var(--baseline)", "triangle-up", [2, 2]),
    ("var(--mark)", "diamond", [8, 3, 2, 3]),
)
# For a file of its own, where the variables of the page are unknown.
LIGHT = {
    "fused": "#0b4f8a",
    "text": "#c8500a",
    "visual": "#2f9e86",
    "baseline": "#a3abb5",
    "ink": "#1b2430",
    "soft": "#66717f",
    "mark": "#a3346b",
    "grid": "#dfe4ea",
    "paper": "#ffffff",
}
FONT = "system-ui, 'Helvetica Neue', Arial, sans-serif"
# Spans such as two dates are too wide for a narrow screen on one line.
TWO_LINES = (
    "length(datum.label) > 20 ? split(replace(datum.label, ' to ', ' to|'), '|') : datum.label"
)
# Without a precision, d3 takes one from the step, and writes 0.12 as 0.1 where the step is 0.02.
NUMBER = ",.6~r"
LONGEST_BESIDE = 28  # letters of a legend's text, for two columns on a narrow screen
MOST_IN_A_ROW = 4  # names of a legend, else it is wider than its figure
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Attributes:
        name: unique on the page.
        title: what it shows.
        svg: the figure.
        spec: Vega-Lite as JSON text without `<`.
        sentence: what one sees.
        table: its numbers.
    """

    name: str
    title: str
    svg: Markup
    spec: Markup
    sentence: Markup
    table: Table


def figure(name: str, title: str, chart: Any, sentence: Markup, table: Table) -> Figure:
    """Render a chart."""
    spec = chart.properties(background="transparent").configure(**_config()).to_dict(validate=False)
    spec.pop("$schema", None)
    svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    svg = _with_own_ids(svg, name)
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Figure(name, title, Markup(svg), Markup(text.replace("<", "\\u003c")), sentence, table)


def _with_own_ids(svg: str, name: str) -> str:
    """Ids that are unique on the page. vl-convert counts those of clip paths per process."""
    numbers = {
        old: place for place, old in enumerate(dict.fromkeys(re.findall(r'id="(\w+)"', svg)))
    }
    return re.sub(
        r'(id="|url\(#)(\w+)',
        # A text of the data may look like an id.
        lambda found: f"{found[1]}{name}-{numbers[found[2]]}" if found[2] in numbers else found[0],
        svg,
    )


def standalone(of: Figure) -> str:
    """The figure as an SVG file, in light colours on white."""
    svg = str(of.svg)
    for name, colour in LIGHT.items():
        svg = svg.replace(f"var(--{name})", colour)
    head, bracket, rest = svg.partition(">")
    return f'{head}{bracket}<rect width="100%" height="100%" fill="white"/>{rest}'


def dots(rows: Rows, label: str, *, zero: bool = True, percent: bool = False) -> Any:
    """A value with its interval per row.

    Args:
        rows: "name", "series" (of `STYLES`), "value", "low", "high", "text" beside the point.
        label: of the axis, with the unit.
        zero: whether the axis starts at 0; else a line marks 0.
        percent: whether the values are shares.
    """
    names = [row["name"] for row in rows]
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=150, ticks=False)),
        color=alt.Color("series:N", legend=None, scale=_scale(rows, 0)),
        tooltip=["name:N", "value:Q", "low:Q", "high:Q"],
    )
    axis = alt.Axis(format="~%" if percent else NUMBER, tickCount=5)
    x = alt.X("value:Q", title=label, scale=alt.Scale(zero=zero, nice=True), axis=axis)
    rules = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=label), x2="high:Q")
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=x, shape=alt.Shape("series:N", legend=None, scale=_scale(rows, 1))
    )
    texts = base.mark_text(align="left", dx=8, color="var(--ink)", fontSize=12).encode(
        x=alt.X("high:Q", title=label), text="text:N", color=alt.value("var(--ink)")
    )
    marks = [rules, points, texts]
    if not zero:
        marks.insert(0, _mark_at(0))
    return alt.layer(*marks).properties(width=WIDTH - 60, height=30 * len(rows))


def lines(
    rows: Rows,
    x: str,
    y: str,
    *,
    log: bool = False,
    percent: bool = False,
    points: bool = True,
    mark: tuple[float, str] | None = None,
    height: int = 200,
) -> Any:
    """Curves over x.

    Args:
        rows: "series", "x", "y".
        x: label of the axis, with its unit.
        y: likewise.
        log: whether both axes are logarithmic.
        percent: whether y is a share.
        points: whether each value is marked.
        mark: a value of x, and its name.
        height: of the plot area.
    """
    scale: Any = "log" if log else "linear"
    form = "~%" if percent else "~g" if log else NUMBER
    names = list(dict.fromkeys(row["series"] for row in rows))
    legend = _legend(names, "stroke")
    dot = alt.OverlayMarkDef(size=28, filled=True) if points else False
    ticks: dict[str, Any] = {"format": "~g"} if log else {"format": "~d", "tickMinStep": 1}
    x_axis = alt.Axis(grid=False, tickCount=6, **ticks)
    y_axis = alt.Axis(format=form, tickCount=5, **_decades(rows) if log else {})
    chart = (
        alt.Chart(_data(rows))
        .mark_line(strokeWidth=1.8, point=dot)
        .encode(
            x=alt.X("x:Q", title=x, scale=alt.Scale(type=scale, nice=False), axis=x_axis),
            y=alt.Y("y:Q", title=y, scale=alt.Scale(type=scale), axis=y_axis),
            color=alt.Color("series:N", sort=names, scale=_scale(rows, 0), legend=legend),
            strokeDash=alt.StrokeDash("series:N", sort=names, scale=_scale(rows, 2), legend=legend),
            tooltip=["series:N", "x:Q", "y:Q"],
        )
    )
    marks = [chart.add_params(_zoom())]
    if mark:
        marks += [_mark_at(mark[0]), _name_at(*mark, height)]
    return alt.layer(*marks).properties(width=WIDTH, height=height)


def stacked(rows: Rows, x: str, y: str) -> Any:
    """Counts over time, stacked.

    Args:
        rows: "series", "start" and "end" (ISO dates), "count".
        x: label of the axis.
        y: likewise, with the unit.
    """
    names = list(dict.fromkeys(row["series"] for row in rows))
    return (
        alt.Chart(_data(rows))
        .mark_bar(stroke="var(--paper)", strokeWidth=0.3, orient="vertical")
        .encode(
            x=alt.X("start:T", title=x, axis=alt.Axis(grid=False, tickCount=6)),
            x2="end:T",
            y=alt.Y("count:Q", title=y, axis=alt.Axis(format="~s", tickCount=5), stack="zero"),
            color=alt.Color("series:N", sort=names, scale=_scale(rows, 0), legend=_legend(names)),
            order=alt.Order("place:Q"),
            tooltip=["series:N", "start:T", "count:Q"],
        )
        .add_params(_zoom("x"))
        .properties(width=WIDTH, height=170)
    )


def grouped(rows: Rows, label: str) -> Any:
    """Per group, a value with its interval for each series.

    Args:
        rows: "group", "series", "value", "low", "high".
        label: of the axis.
    """
    groups = list(dict.fromkeys(row["group"] for row in rows))
    names = list(dict.fromkeys(row["series"] for row in rows))
    axis = alt.Axis(labelLimit=150, ticks=False, labelExpr=TWO_LINES)
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("group:N", sort=groups, title=None, axis=axis),
        yOffset=alt.YOffset("series:N", sort=names),
        color=alt.Color("series:N", sort=names, scale=_scale(rows, 0), legend=_legend(names)),
        tooltip=["group:N", "series:N", "value:Q", "low:Q", "high:Q"],
    )
    rules = base.mark_rule(strokeWidth=1.6).encode(x=alt.X("low:Q", title=label), x2="high:Q")
    points = base.mark_point(filled=True, size=50, opacity=1).encode(
        x=alt.X(
            "value:Q",
            title=label,
            scale=alt.Scale(zero=True),
            axis=alt.Axis(tickCount=5, format=NUMBER),
        ),
        shape=alt.Shape("series:N", sort=names, scale=_scale(rows, 1), legend=_legend(names)),
    )
    height = len(groups) * (12 * len(names) + 10)
    return alt.layer(rules, points).properties(width=WIDTH - 90, height=height)


def shares(rows: Rows, label: str, colours: Mapping[str, str]) -> Any:
    """Horizontal bars of parts of a whole, one bar per group.

    Args:
        rows: "group", "series", "share", "place" (order of the parts).
        label: of the axis.
        colours: variables of the style sheet by part, in order.
    """
    groups = list(dict.fromkeys(row["group"] for row in rows))
    scale = alt.Scale(domain=[*colours], range=[f"var(--{each})" for each in colours.values()])
    side_by_side = max(map(len, colours)) <= LONGEST_BESIDE
    legend = alt.Legend(
        title=None, columns=2 if side_by_side else 1, labelLimit=240, columnPadding=24
    )
    return (
        alt.Chart(_data(rows))
        .mark_bar(stroke="var(--paper)", strokeWidth=1, height=14)
        .encode(
            x=alt.X(
                "share:Q",
                title=label,
                stack=True,
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="~%", tickCount=5),
            ),
            y=alt.Y("group:N", sort=groups, title=None, axis=alt.Axis(labelLimit=160, ticks=False)),
            color=alt.Color("series:N", scale=scale, legend=legend),
            order=alt.Order("place:Q"),
            tooltip=["group:N", "series:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=WIDTH - 120, height=20 * len(groups))
    )


def density(rows: Rows, x: str, y: str) -> Any:
    """A two-dimensional histogram; darker cells hold more. Lines mark 0 on both axes.

    Args:
        rows: "x0", "x1", "y0", "y1" (the cell), "share" of all.
        x: label of the axis, with its unit.
        y: likewise.
    """
    most = max((row["share"] for row in rows), default=1.0) or 1.0
    cells = (
        alt.Chart(_data(rows))
        .mark_rect(color="var(--fused)", stroke=None)
        .encode(
            x=alt.X("x0:Q", title=x, axis=alt.Axis(grid=False, tickCount=6)),
            x2="x1:Q",
            y=alt.Y("y0:Q", title=y, axis=alt.Axis(grid=False, tickCount=6)),
            y2="y1:Q",
            opacity=alt.Opacity(
                "share:Q",
                legend=None,
                scale=alt.Scale(type="sqrt", domain=[0, most], range=[0.04, 1]),
            ),
            tooltip=["x0:Q", "x1:Q", "y0:Q", "y1:Q", alt.Tooltip("share:Q", format=".2%")],
        )
    )
    zero = alt.Chart(_data([{"zero": 0}]))
    rules = [
        zero.mark_rule(color="var(--ink)", strokeWidth=1).encode(x="zero:Q"),
        zero.mark_rule(color="var(--ink)", strokeWidth=1).encode(y="zero:Q"),
    ]
    return alt.layer(cells, *rules).properties(width=WIDTH - 60, height=WIDTH - 60)


def _data(rows: Rows) -> Any:
    data: Any = alt.Data
    return data(values=[dict(row) for row in rows])


def _style(name: str, place: int) -> tuple[str, str, list[int]]:
    return STYLES.get(name, NEUTRAL[place % len(NEUTRAL)])


def _scale(rows: Rows, part: int) -> Any:
    """Colours (0), shapes (1) or dashes (2) of the series, in the order of their first row."""
    names = list(dict.fromkeys(row["series"] for row in rows))
    return alt.Scale(domain=names, range=[_style(name, n)[part] for n, name in enumerate(names)])


def _legend(names: Sequence[str], symbol: str | None = None) -> Any:
    kind: dict[str, Any] = {"symbolType": symbol, "symbolSize": 400} if symbol else {}
    if len(names) > MOST_IN_A_ROW:
        kind["columns"] = MOST_IN_A_ROW
    return alt.Legend(title=None, columnPadding=20, **kind) if len(names) > 1 else None


def _zoom(*axes: Any) -> Any:
    """Drag to move, shift and wheel to zoom, double click to return."""
    return alt.selection_interval(
        name="zoom",
        bind="scales",
        encodings=list(axes) or ["x", "y"],
        zoom="wheel![event.shiftKey]",
    )


def _decades(rows: Rows) -> dict[str, Any]:
    """Ticks of a logarithmic axis at the powers of ten only."""
    least = min(row["y"] for row in rows)
    return {"values": [10.0**-power for power in range(math.ceil(-math.log10(least)) + 1)]}


def _mark_at(x: float) -> Any:
    return (
        alt.Chart(_data([{"x": x}]))
        .mark_rule(color="var(--soft)", strokeDash=[3, 3], strokeWidth=1)
        .encode(x="x:Q")
    )


def _name_at(x: float, text: str, height: int) -> Any:
    """The name of a mark, at the foot of a plot area of this height."""
    return (
        alt.Chart(_data([{"x": x, "text": text}]))
        .mark_text(align="right", dx=-5, dy=-4, color="var(--soft)", fontSize=12)
        .encode(x="x:Q", y=alt.value(height), text="text:N")
    )


def _config() -> dict[str, Any]:
    text = {"labelColor": "var(--soft)", "titleColor": "var(--soft)", "labelFontSize": 12}
    return {
        "font": FONT,
        "padding": {"left": 20, "right": 6, "top": 4, "bottom": 4},
        "axis": {
            **text,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "gridColor": "var(--grid)",
            "domainColor": "var(--soft)",
            "tickColor": "var(--soft)",
            "titlePadding": 8,
        },
        "axisX": {"labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 10},
        "legend": {
            "labelColor": "var(--ink)",
            "labelFontSize": 12,
            "orient": "top",
            "padding": 0,
            "symbolStrokeWidth": 2,
            "symbolSize": 80,
        },
        "view": {"stroke": "transparent"},
    }
