"""Values with intervals as rows of a figure, cells of a table and parts of a sentence."""

from typing import Any

from markupsafe import Markup

from brmrs.report.numbers import interval, number

Estimate = dict[str, float | None]  # "value", "low", "high"


def dot(name: str, series: str, of: Any, text: str) -> dict[str, Any]:
    """A row of `figures.dots`."""
    ends = {end: of[end] for end in ("value", "low", "high")}
    return {"name": name, "series": series, "text": text, **ends}


def grouped(group: str, series: str, of: Any) -> dict[str, Any]:
    """A row of `figures.grouped`."""
    ends = {end: of[end] for end in ("value", "low", "high")}
    return {"group": group, "series": series, **ends}


def cells_of(key: str, of: Estimate, form: str) -> list[Any]:
    """The cells of the value and of its interval."""
    value, low, high = of["value"], of["low"], of["high"]
    ends = "" if low is None or high is None else interval(key, low, high, form)
    return [number(f"{key}.value", value, form), ends]


def percent(key: str, of: Estimate) -> Markup:
    """The value as a percentage."""
    return number(key, of["value"], "percent")
