"""Recall in strata of users and items."""

from typing import Any

import polars as pl
from markupsafe import Markup

from brmrs import columns
from brmrs.columns import FUSED, TEST
from brmrs.report import figures
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import Table, interval, number, sentence
from brmrs.report.page import Section, section

Rows = list[dict[str, Any]]


def strata(inputs: Inputs) -> Section | None:
    """A figure per dimension; None if no pair of the test split is in a stratum."""
    rows = inputs.strata.filter(pl.col(columns.SPLIT) == TEST).rows(named=True)
    dimensions: dict[str, Rows] = {}
    for row in rows:
        dimensions.setdefault(row[columns.DIMENSION], []).append(row)
    if not dimensions:
        return None
    texts = inputs.metrics["definitions"]["strata"]
    return section(
        "strata",
        "For whom and for what it works",
        metric=rows[0][columns.NAME],
        drawn=[_figure(inputs, name, each) for name, each in dimensions.items()],
        definitions=[(name, text) for name, text in texts.items() if name in dimensions],
    )


def _figure(inputs: Inputs, dimension: str, rows: Rows) -> figures.Figure:
    shown = [name for name in inputs.models if any(row[columns.BRANCH] == name for row in rows)]
    ordered = [row for name in shown for row in rows if row[columns.BRANCH] == name]
    chart = figures.grouped(
        [
            {
                "group": row[columns.STRATUM],
                "series": row[columns.BRANCH],
                "value": row[columns.VALUE],
                "low": row[columns.LOW],
                "high": row[columns.HIGH],
            }
            for row in ordered
        ],
        f"test {rows[0][columns.NAME]}",
    )
    return figures.figure(
        "strata-" + "".join(letter if letter.isalnum() else "-" for letter in dimension),
        f"By {dimension}",
        chart,
        _sentence(inputs, [row for row in rows if row[columns.BRANCH] == FUSED]),
        _table(dimension, ordered, shown),
    )


def _sentence(inputs: Inputs, own: Rows) -> Markup:
    """Where the model is best and worst, and whether the intervals overlap."""
    if not own:
        return Markup("")
    best = max(own, key=lambda row: row[columns.VALUE])
    worst = min(own, key=lambda row: row[columns.VALUE])
    if len(own) == 1:
        return sentence("All test pairs are in one group, {}.", best[columns.STRATUM])
    if best[columns.VALUE] == worst[columns.VALUE]:
        return sentence(
            "{} has the same value in all groups: {}.", inputs.called(FUSED), _value(best)
        )
    apart = worst[columns.HIGH] < best[columns.LOW]
    return sentence(
        "{} is best for “{}” ({}) and worst for “{}” ({}); their 95 % intervals {}.",
        inputs.called(FUSED),
        *(part for row in (best, worst) for part in (row[columns.STRATUM], _value(row))),
        "do not overlap" if apart else "overlap",
    )


def _value(row: dict[str, Any]) -> Markup:
    key = f"strata.{row[columns.DIMENSION]}.{row[columns.STRATUM]}.{row[columns.BRANCH]}"
    return number(key, row[columns.VALUE])


def _table(dimension: str, rows: Rows, shown: list[str]) -> Table:
    cells = []
    for group in dict.fromkeys(row[columns.STRATUM] for row in rows):
        of = {row[columns.BRANCH]: row for row in rows if row[columns.STRATUM] == group}
        own, key = of.get(FUSED) or next(iter(of.values())), f"strata.{dimension}.{group}"
        cells.append(
            [
                group,
                number(f"{key}.users", own[columns.N_USERS], "count"),
                number(f"{key}.pairs", own[columns.N_PAIRS], "count"),
                *(_value(of[name]) if name in of else "" for name in shown),
                interval(f"{key}.{FUSED}", own[columns.LOW], own[columns.HIGH]),
            ]
        )
    return Table(["", "users", "held-out items", *shown, f"95 % interval, {FUSED}"], cells)
