"""Plots of the data set: degree distributions, sizes of the k-cores, interactions over time."""

from typing import Any

import numpy as np
import polars as pl

from brmrs.columns import ITEM, SPLIT, SPLIT_NAMES, TIMESTAMP, USER
from brmrs.report import figures
from brmrs.report.figures import Curve, Histogram

DAY = 86_400_000  # ms
# Lengths of time bins; the shortest that gives at most `MOST_BINS` is used.
UNITS = (("1d", "day", 1.0), ("1w", "week", 7.0), ("1mo", "month", 28.0), ("1q", "quarter", 89.0))
YEARS = ("1y", "year", 365.0)
MOST_BINS = 120


def portrait(split: pl.DataFrame, statistics: dict[str, Any]) -> str:
    """The figure, as SVG.

    Args:
        split: of `columns.SPLIT_INTERACTIONS`.
        statistics: of the stage ingest.
    """
    degrees = [degree_curve(f"{name}s", split[name]) for name in (USER, ITEM)]
    return figures.data_plots(degrees, core_curves(statistics), statistics["k"], over_time(split))


def degree_curve(name: str, ids: pl.Series) -> Curve:
    """The share of the nodes that has at least x interactions, at every x that occurs."""
    counts = ids.value_counts()["count"].to_numpy()
    values, nodes = np.unique(counts, return_counts=True)
    at_least = nodes[::-1].cumsum()[::-1] / len(counts)
    return Curve(name, values.tolist(), at_least.tolist())


def core_curves(statistics: dict[str, Any]) -> list[Curve]:
    """Users, items and interactions of each k-core as shares of all; k = 1 is the whole dump."""
    everything = statistics["before_k_core"]
    cores = [{"k": 1, **everything}, *statistics["cores"]]
    return [
        Curve(
            name, [core["k"] for core in cores], [core[name] / everything[name] for core in cores]
        )
        for name in ("users", "items", "interactions")
    ]


def over_time(split: pl.DataFrame) -> Histogram | None:
    """Interactions of each part of the split over time; None without times."""
    times = split.select(TIMESTAMP, SPLIT).drop_nulls()
    if times.is_empty():
        return None
    first, last = times[TIMESTAMP].to_numpy().min(), times[TIMESTAMP].to_numpy().max()
    span = float(last - first) / DAY
    every, unit, days = next((each for each in UNITS if span / each[2] <= MOST_BINS), YEARS)
    stamps = pl.from_epoch(pl.col(TIMESTAMP), time_unit="ms")
    binned = times.select(stamps.dt.truncate(every).dt.date().alias(TIMESTAMP), SPLIT)
    starts = binned[TIMESTAMP].unique().sort()
    counts = {}
    for value, name in SPLIT_NAMES.items():
        mine = binned.filter(pl.col(SPLIT) == value)[TIMESTAMP].value_counts()
        found = dict(mine.rows())
        counts[name] = [found.get(start, 0) for start in starts]
    return Histogram(starts.to_list(), counts, unit, days)
