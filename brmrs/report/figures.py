"""Figures of the report, as SVG text: same data, same bytes."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
INK = "#0f172a"
STYLE: dict[Any, Any] = {
    **matplotlib.rcParamsDefault,  # not the user's settings, so the same data give the same bytes
    "svg.fonttype": "none",  # text stays text: small, and in the page's own font
    "svg.hashsalt": "brmrs",  # else ids differ from run to run
    "font.size": 9,
    "date.converter": "concise",
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#475569",
    "xtick.color": "#475569",
    "ytick.color": "#475569",
}


@dataclass(frozen=True)
class Histogram:
    """Counts over time, stacked.

    Attributes:
        starts: of the bins.
        counts: of each bin, by name.
        unit: name of a bin's length, such as "month".
        days: a bin's length.
    """

    starts: Sequence[date]
    counts: Mapping[str, Sequence[int]]
    unit: str
    days: float


@dataclass(frozen=True)
class Curve:
    """One line of a figure: y over x."""

    name: str
    x: Sequence[int]
    y: Sequence[float]


def training_curve(losses: list[Curve], validation: Curve, best_epoch: int) -> str:
    """Loss terms and the validation metric over the epochs, the best epoch marked."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for curve in losses:
            left.plot(curve.x, curve.y, linewidth=1.4, label=curve.name)
        left.set(xlabel="epoch", ylabel="loss terms, mean per batch")
        left.legend(frameon=False)
        right.plot(validation.x, validation.y, color=BLUE, linewidth=1.6)
        right.set(xlabel="epoch", ylabel=f"validation {validation.name}", ylim=(0, None))
        _mark(right, best_epoch)
        return _svg(figure)


def _mark(axes: Axes, epoch: int) -> None:
    if not epoch:
        return
    axes.axvline(epoch, color=ORANGE, linewidth=1, linestyle="--")
    axes.annotate(
        f"best epoch {epoch}",
        (epoch, 0.04),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        xytext=(-4, 0),
        ha="right",
        color=ORANGE,
    )


def bars(names: Sequence[str], values: Sequence[float], label: str) -> str:
    """Horizontal bars, the first on top, the value at the end of each."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 0.34 * len(names) + 0.55), layout="constrained")
        axes = figure.subplots()
        colours = [BLUE if name == names[0] else GREY for name in names]
        axes.barh(range(len(names)), values, color=colours, height=0.62)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel=label, xlim=(0, max(values, default=0.0) * 1.15 or 1.0))
        for row, value in enumerate(values):
            axes.annotate(
                f"{value:.4f}", (value, row), xytext=(4, 0), textcoords="offset points", va="center"
            )
        return _svg(figure)


def data_plots(degrees: list[Curve], cores: list[Curve], k: int, times: "Histogram | None") -> str:
    """Degree distributions, the k-core curve and, where there are times, interactions over time.

    Args:
        degrees: for users and items, the share that has at least x interactions.
        cores: the sizes of the k-core as shares, over k.
        k: of the data set; marked if the curve has it.
        times: interactions over time.
    """
    layout = "AB" if times is None else "AB;CC"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 3.0 if times is None else 5.4), layout="constrained")
        axes = figure.subplot_mosaic(layout)
        _degrees(axes["A"], degrees)
        _cores(axes["B"], cores, k)
        if times is not None:
            _times(axes["C"], times)
        return _svg(figure)


def _degrees(axes: Axes, curves: list[Curve]) -> None:
    for curve, colour in zip(curves, (BLUE, ORANGE), strict=True):
        axes.loglog(curve.x, curve.y, color=colour, marker=".", markersize=4, linewidth=1)
        axes.annotate(
            curve.name,
            (curve.x[len(curve.x) // 2], curve.y[len(curve.x) // 2]),
            xytext=(5, 3),
            textcoords="offset points",
            color=colour,
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set(
        title="Interactions per user and item",
        xlabel="interactions d",
        ylabel="share with at least d",
    )


def _cores(axes: Axes, curves: list[Curve], k: int) -> None:
    for curve, colour in zip(curves, (BLUE, ORANGE, GREY), strict=True):
        axes.plot(curve.x, curve.y, color=colour, marker=".", linewidth=1.4, label=curve.name)
    if curves and k in curves[0].x:
        axes.axvline(k, color=INK, linewidth=0.8, linestyle=":")
        axes.annotate(f"k = {k}", (k, 0.03), xytext=(3, 0), textcoords="offset points", color=INK)
    axes.set(title="Size of each k-core", xlabel="k", ylabel="share left", ylim=(0, 1.04))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False)


def _times(axes: Axes, times: "Histogram") -> None:
    starts = np.array(times.starts, dtype="datetime64[D]")
    floor = [0] * len(starts)
    for (name, counts), colour in zip(times.counts.items(), (BLUE, GREY, ORANGE), strict=True):
        axes.bar(
            starts,
            counts,
            bottom=floor,
            width=times.days * 0.9,
            align="edge",
            color=colour,
            label=name,
        )
        floor = [low + count for low, count in zip(floor, counts, strict=True)]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set(title="Interactions over time", ylabel=f"interactions per {times.unit}")
    axes.legend(frameon=False, loc="upper left")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
