"""Training: the curve, the settings, the chosen epoch."""

from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from brmrs import columns
from brmrs.columns import SPLIT_NAMES, VALIDATION
from brmrs.report import figures
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import Table, number, sentence, thinned
from brmrs.report.page import Section, section
from brmrs.store.tables import read_table
from brmrs.system import untrusted

ROWS = 20  # of the figures' tables
POINTS = 400  # of a curve in a figure


def training(inputs: Inputs) -> Section:
    """The curve where there is one, and the settings."""
    bundle = inputs.bundle
    return section(
        "training",
        "Training",
        drawn=curves(inputs.curve, bundle),
        model=_settings(bundle["model"]),
        train=_settings(bundle["train"]),
        name=bundle["model"]["name"],
    )


def curves(curve: pl.DataFrame, bundle: dict[str, Any]) -> list[figures.Figure]:
    """Validation metric and loss terms over the epochs; empty without training.

    Args:
        curve: of `columns.CURVE`.
        bundle: the model's description.
    """
    if curve.is_empty() or not bundle["best_epoch"]:
        return []
    losses = curve.filter(pl.col(columns.KIND) == columns.LOSS)
    validation = curve.filter(pl.col(columns.KIND) == SPLIT_NAMES[VALIDATION])
    drawn = []
    if not validation.is_empty():
        drawn.append(_validation(validation, bundle["best_epoch"]))
    if not losses.is_empty():
        drawn.append(_losses(losses))
    return drawn


def read_curves(train: Path) -> list[figures.Figure]:
    """The figures of a stored training.

    Args:
        train: the artifact of the stage train.

    Raises:
        UserError: its curve is damaged.
    """
    curve = pl.from_arrow(read_table(train / "curve.parquet", columns.CURVE))
    assert isinstance(curve, pl.DataFrame)
    return curves(curve, untrusted.parse(train / "bundle.json"))


def _validation(points: pl.DataFrame, best: int) -> figures.Figure:
    name = points[columns.NAME][0]
    rows = _rows(points)
    at = {row["x"]: row["y"] for row in rows}
    last = rows[-1]
    value = at.get(best, max(at.values()))
    text = sentence(
        "Validation {} is highest after epoch {} ({}), which is the model of this run; training "
        "ended after epoch {} ({}).",
        name,
        best,
        number(f"curve.{name}.{best}", value),
        last["x"],
        number(f"curve.{name}.{last['x']}", last["y"]),
    )
    table = Table(
        ["epoch", name],
        [
            [f"{epoch}", number(f"curve.{name}.{epoch}", at[epoch])]
            for epoch in _chosen([*at], best)
        ],
    )
    chart = figures.lines(
        _drawn(rows), "epoch", f"validation {name}", points=False, mark=(best, f"epoch {best}")
    )
    return figures.figure("validation", f"Validation {name}", chart, text, table)


def _losses(points: pl.DataFrame) -> figures.Figure:
    rows = _rows(points)
    terms: dict[str, dict[int, float]] = {}
    for row in rows:
        terms.setdefault(row["series"], {})[row["x"]] = row["y"]
    epochs = list(next(iter(terms.values())))
    ends = [
        sentence(
            "{} from {} to {}",
            name,
            *(number(f"curve.{name}.{epoch}", each[epoch]) for epoch in (min(each), max(each))),
        )
        for name, each in terms.items()
    ]
    table = Table(
        ["epoch", *terms],
        [
            [
                f"{epoch}",
                *(number(f"curve.{name}.{epoch}", each.get(epoch)) for name, each in terms.items()),
            ]
            for epoch in _chosen(epochs, epochs[-1])
        ],
    )
    chart = figures.lines(_drawn(rows), "epoch", "mean per batch", points=False)
    text = sentence("First to last epoch: {}.", Markup(", ").join(ends))
    return figures.figure("losses", "Loss terms", chart, text, table)


def _rows(points: pl.DataFrame) -> list[dict[str, Any]]:
    names = (columns.NAME, columns.EPOCH, columns.VALUE)
    return [
        {"series": name, "x": epoch, "y": value}
        for name, epoch, value in points.select(names).rows()
    ]


def _drawn(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most `POINTS` values of each series, evenly chosen."""
    series: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        series.setdefault(row["series"], []).append(row)
    return [row for each in series.values() for row in thinned(each, POINTS)]


def _chosen(epochs: list[int], best: int) -> list[int]:
    """`ROWS` of the epochs, with the first and the last; and the best."""
    return sorted({*thinned(epochs, ROWS), *([best] if best in epochs else [])})


def _settings(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Fields of a section, nested ones by their dotted path."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += [(f"{name}.{inner}", text) for inner, text in _settings(value)]
        else:
            found.append((name, "none" if value is None else f"{value}"))
    return found
