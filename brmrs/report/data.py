"""The data: sizes, degrees, k-cores, times, what was left out, coverage of the modalities."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from brmrs.columns import ITEM, SPLIT, SPLIT_NAMES, TIMESTAMP, USER
from brmrs.report import figures
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import Table, number, sentence, thinned
from brmrs.report.page import Section, section

DAY = 86_400_000  # ms
# Lengths of time bins; the shortest that gives at most `MOST_BINS` is used.
UNITS = (("1d", "day", 1.0), ("1w", "week", 7.0), ("1mo", "month", 28.0), ("1q", "quarter", 89.0))
YEARS = ("1y", "year", 365.0)
MOST_BINS = 120
MOST_ROWS = 20  # of a curve in a table
MOST_POINTS = 200  # of a curve in a figure


@dataclass(frozen=True)
class Curve:
    """One line of a figure: y over x."""

    name: str
    x: list[int]
    y: list[float]


@dataclass(frozen=True)
class Histogram:
    """Interactions over time.

    Attributes:
        starts: of the bins.
        counts: of each bin, by part of the split.
        unit: name of a bin's length, such as "month".
        days: a bin's least length.
        undated: interactions without a time, which are in no bin.
    """

    starts: list[date]
    counts: dict[str, list[int]]
    unit: str
    days: float
    undated: int


def data(inputs: Inputs) -> Section:
    """The data set."""
    drawn = [degrees(inputs.split), cores(inputs.statistics)]
    times = over_time(inputs.split)
    if times is not None:
        drawn.append(timeline(times))
    return section(
        "data",
        "Data",
        sizes=_sizes(inputs),
        drawn=drawn,
        cleaning=_cleaning(inputs.statistics),
        coverage=_coverage(inputs),
        model=inputs.metrics["model"],
        statuses=_statuses(inputs),
        shared=inputs.shared_pictures,
    )


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
    return Histogram(starts.to_list(), counts, unit, days, len(split) - len(times))


def degrees(split: pl.DataFrame) -> figures.Figure:
    """The share of users and items with at least d interactions."""
    curves = [degree_curve(f"{name}s", split[name]) for name in (USER, ITEM)]
    counts = [split[name].value_counts()["count"].to_numpy() for name in (USER, ITEM)]
    half = [float(np.median(each)) for each in counts]
    text = sentence(
        "Half of the users have at most {} interactions and half of the items at most {}; the most "
        "active user has {}, the most popular item {}.",
        *(
            number(f"degree.median.{name}", n, "count")
            for name, n in zip(("users", "items"), half, strict=True)
        ),
        *(number(f"degree.{each.name}.{each.x[-1]}.d", each.x[-1], "count") for each in curves),
    )
    rows = [
        {"series": each.name, "x": x, "y": y}
        for each in curves
        for x, y in thinned(list(zip(each.x, each.y, strict=True)), MOST_POINTS)
    ]
    return figures.figure(
        "degrees",
        "Interactions per user and item",
        figures.lines(rows, "interactions d", "share with at least d", log=True),
        text,
        Table(
            ["", "interactions d", "share with at least d"],
            [
                [
                    each.name,
                    number(f"degree.{each.name}.{x}.d", x, "count"),
                    number(f"degree.{each.name}.{x}", y, "percent"),
                ]
                for each in curves
                for x, y in thinned(list(zip(each.x, each.y, strict=True)), MOST_ROWS)
            ],
        ),
    )


def cores(statistics: dict[str, Any]) -> figures.Figure:
    """The sizes of the k-cores."""
    curves, k = core_curves(statistics), statistics["k"]
    rows = [
        {"series": each.name, "x": x, "y": y}
        for each in curves
        for x, y in zip(each.x, each.y, strict=True)
    ]
    known = k in curves[0].x
    at = {each.name: each.y[each.x.index(k)] for each in curves} if known else {}
    text = Markup("No k-core was taken; the curves show what each would leave.")
    if known:
        text = sentence(
            "The {}-core that is used keeps {} of the interactions, {} of the users and {} of the "
            "items.",
            k,
            *(
                number(f"core.{k}.{name}", at[name], "percent")
                for name in ("interactions", "users", "items")
            ),
        )
    table = [
        [f"k = {x}", *(number(f"core.{x}.{each.name}", each.y[row], "percent") for each in curves)]
        for row, x in enumerate(curves[0].x)
    ]
    return figures.figure(
        "cores",
        "Share of the dump that each k-core keeps",
        figures.lines(
            rows, "k", "share left", percent=True, mark=(k, f"k = {k}") if known else None
        ),
        text,
        Table(["", *(each.name for each in curves)], table),
    )


def timeline(times: Histogram) -> figures.Figure:
    """Interactions of each part of the split over time."""
    ends = [*times.starts[1:], times.starts[-1] + timedelta(days=times.days)]
    # A bin is drawn at most as wide as its unit, so a gap is a gap.
    ends = [
        min(end, start + timedelta(days=times.days + (3 if times.days > 7 else 0)))
        for start, end in zip(times.starts, ends, strict=True)
    ]
    rows = [
        {"series": name, "start": f"{start}", "end": f"{end}", "count": count, "place": place}
        for place, (name, counts) in enumerate(times.counts.items())
        for start, end, count in zip(times.starts, ends, counts, strict=True)
        if count
    ]
    totals = [sum(row) for row in zip(*times.counts.values(), strict=True)]
    most = totals.index(max(totals))
    text = sentence(
        "From {} to {}; most interactions, {}, are in the {} of {}.",
        times.starts[0],
        times.starts[-1],
        number(f"time.{times.unit}.most", max(totals), "count"),
        times.unit,
        times.starts[most],
    )
    if times.undated:
        text += f" {times.undated:,} interactions have no time and are left out."
    chosen = thinned(list(range(len(times.starts))), MOST_ROWS)
    table = [
        [
            f"{times.starts[place]}",
            *(
                number(f"time.{times.unit}.{times.starts[place]}.{name}", counts[place], "count")
                for name, counts in times.counts.items()
            ),
        ]
        for place in chosen
    ]
    return figures.figure(
        "times",
        f"Interactions per {times.unit}, by part of the split",
        figures.stacked(rows, "", f"interactions per {times.unit}"),
        text,
        Table([f"{times.unit} of", *times.counts], table),
    )


def _sizes(inputs: Inputs) -> list[tuple[str, Markup]]:
    facts = inputs.statistics
    counts = dict(inputs.split[SPLIT].value_counts().rows())
    parts = [
        Markup("{} {}").format(number(f"split.{name}", counts.get(value, 0), "count"), name)
        for value, name in SPLIT_NAMES.items()
    ]
    return [
        *(
            (name, number(f"statistics.{name}", facts[name], "count"))
            for name in ("users", "items", "interactions")
        ),
        ("split", Markup(", ").join(parts)),
        ("empty cells", number("statistics.sparsity", facts["sparsity"], "percent")),
    ]


def _cleaning(facts: dict[str, Any]) -> list[tuple[str, Markup]]:
    """What was read, and what was left out, with its reason."""
    rows = []
    for kind in ("reviews", "metadata"):
        each = facts[kind]
        rows.append((f"{kind} lines", number(f"{kind}.lines", each["lines"], "count")))
        rows += [
            (
                f"{kind}: {reason}",
                Markup("{} quarantined").format(
                    number(f"{kind}.quarantined.{reason}", count, "count")
                ),
            )
            for reason, count in sorted(each["quarantined"].items())
        ]
        rows.append((f"repeated {kind}", number(f"{kind}.duplicates", each["duplicates"], "count")))
    before = facts["before_k_core"]
    rows.append(
        (
            "before the k-core",
            Markup(", ").join(
                Markup("{} {}").format(number(f"before.{name}", before[name], "count"), name)
                for name in ("users", "items", "interactions")
            ),
        )
    )
    has = [
        Markup("{} {}").format(
            number(f"items_with.{field}", count, "count"), field.replace("_", " ")
        )
        for field, count in facts["items_with"].items()
    ]
    return [*rows, ("items with", Markup(", ").join(has))]


def _coverage(inputs: Inputs) -> Table | None:
    """The vectors of each modality, and the share of the data that has one."""
    parts = ("items", "interactions", "test")
    rows = []
    for meta in inputs.features:
        modality = meta["modality"]
        shares = inputs.metrics["coverage"].get(modality, {})
        digest = (meta["weights_sha256"] or "")[:12]
        rows.append(
            [
                modality,
                meta["label"],
                f"{meta['weights']} {digest}".strip(),
                number(f"features.{modality}.dimension", meta["dimension"], "count"),
                number(f"features.{modality}.present", meta["present"], "count"),
                *(
                    number(f"coverage.{modality}.{part}", shares.get(part), "percent")
                    for part in parts
                ),
            ]
        )
    head = ["", "features", "weights", "dimension", "items with it"]
    shares_of = ["of items", "of interactions", "of test interactions"]
    return Table([*head, *shares_of], rows) if rows else None


def _statuses(inputs: Inputs) -> list[tuple[str, Markup]]:
    return [
        (status, number(f"pictures.{status}", count, "count"))
        for status, count in inputs.statuses.items()
        if count
    ]
