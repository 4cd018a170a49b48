"""Figures of the report, as SVG text: same data, same bytes."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
STYLE: dict[Any, Any] = {
    **matplotlib.rcParamsDefault,  # not the user's own settings: same data, same bytes
    "svg.fonttype": "none",  # text stays text: small, and in the page's own font
    "svg.hashsalt": "brmrs",  # else ids differ from run to run
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#475569",
    "xtick.color": "#475569",
    "ytick.color": "#475569",
}


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


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
