"""Several runs on one page: results, differences, strata, diagnosis, lists of the same users.

The first run is the reference. All runs have the same users and the same split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from brmrs import columns
from brmrs.columns import FUSED, ITEM, RANK, TEST, USER
from brmrs.diagnosis import schemas
from brmrs.diagnosis.transitions import transitions
from brmrs.evaluation.comparison import BETTER, DECISION, UNDECIDED, WORSE
from brmrs.experiments.compare_runs import DEFINITIONS, compare_runs
from brmrs.report import figures, page
from brmrs.report.diagnosis import SET_NAMES
from brmrs.report.gallery import Card, Gallery
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import Table, interval, number, sentence
from brmrs.report.of_run import inputs_of
from brmrs.report.page import Section, fragment, section
from brmrs.report.previous import changes
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.pages import page_of
from brmrs.store.runs import REPORTS, Run
from brmrs.system.files import replacing

VERBS = {BETTER: "is better", WORSE: "is worse", UNDECIDED: "is not distinguishable"}
TAIL = 8  # letters of a run's name, which every command takes
SHOWN = 6  # items of a list


@dataclass(frozen=True)
class Side:
    """One run of the page.

    Attributes:
        name: unique on the page.
        run: the run.
        inputs: its artifacts.
    """

    name: str
    run: Run
    inputs: Inputs


def write(runs: Sequence[Run], store: ArtifactStore, users: int, to: Path | None = None) -> Path:
    """Write the page, and return its path.

    Args:
        runs: the reference first.
        store: with their artifacts.
        users: whose lists are shown; those whose lists differ most.
        to: the file to write; None: one in the store.

    Raises:
        UserError: the runs cannot be compared, or an artifact is missing or damaged.
    """
    compared = compare_runs(runs, store, TEST)
    sides = [Side(_called(run), run, inputs_of(run, store)) for run in runs]
    sections = [
        _result(sides, compared),
        _changes(sides, store),
        _strata(sides),
        _diagnosis(sides),
        _users(sides, users),
    ]
    title = f"{runs[0].config['name']} · {' against '.join(side.name for side in sides)}"
    html = page.render(title, _heading(sides), [each for each in sections if each is not None])
    path = to or store.root / REPORTS / page_of([run.name for run in runs])
    if to is None:
        path.parent.mkdir(exist_ok=True)
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def _called(run: Run) -> str:
    return f"{run.config['model']['name']} {run.name[-TAIL:]}"


def _heading(sides: list[Side]) -> Markup:
    rows = [
        [
            side.name,
            side.run.config["model"]["name"],
            f"{side.run.config['train']['seed']}",
            side.run.config["note"],
            sentence('<span class="id">{}</span>', side.run.name),
        ]
        for side in sides
    ]
    return fragment(
        "side_by_side.heading",
        data=sides[0].run.config["name"],
        count=len(sides),
        table=Table(["", "model", "seed", "note", "run"], rows, frozenset({0})),
    )


def _result(sides: list[Side], compared: dict[str, Any]) -> Section:
    metric = compared["metrics"][0]
    # A run has intervals at its largest cut-off only, which others may lack.
    known = {s.name: s.inputs.metrics["intervals"][FUSED]["test"].get(metric) for s in sides}
    dots, rows = [], []
    for side, row in zip(sides, compared["rows"], strict=True):
        value = row["values"][metric]
        low, high = known[side.name] or (value, value)
        span = {"value": value, "low": low, "high": high, "text": f"{value:.4f}"}
        dots.append({"name": side.name, "series": side.name, **span})
        rows += [_difference(side, row, name) for name in compared["metrics"]]
    drawn = figures.figure(
        "runs",
        f"Test {metric} of each run, with 95 % bootstrap interval over the users",
        figures.dots(dots, f"test {metric}"),
        _sentence(sides, compared, metric),
        Table(
            ["", metric, "95 % interval"],
            [
                [
                    dot["name"],
                    number(f"run.{dot['name']}.{metric}", dot["value"]),
                    interval(f"run.{dot['name']}.{metric}", dot["low"], dot["high"])
                    if known[dot["name"]]
                    else "none at this cut-off",
                ]
                for dot in dots
            ],
        ),
    )
    head = ["", "metric", "value", "difference", "95 % interval", "effect", "p (Holm)", "p (BH)"]
    return section(
        "side_by_side.result",
        "Result",
        drawn=drawn,
        table=Table(head, rows),
        users=number("compared.users", compared["users"], "count"),
        definitions=DEFINITIONS.items(),
    )


def _difference(side: Side, row: dict[str, Any], metric: str) -> list[Any]:
    key = f"compared.{side.name}.{metric}"
    cells: list[Any] = [side.name, metric, number(f"{key}.value", row["values"][metric])]
    each = row["against_first"].get(metric)
    if each is None:
        return [*cells, "reference", "", "", "", ""]
    return [
        *cells,
        number(f"{key}.difference", each["difference"], "signed"),
        interval(key, each["low"], each["high"], "signed"),
        number(f"{key}.effect", each["effect"], "score"),
        number(f"{key}.p_holm", each["p_holm"], "p"),
        number(f"{key}.p_bh", each["p_bh"], "p"),
    ]


def _sentence(sides: list[Side], compared: dict[str, Any], metric: str) -> Markup:
    """Which runs are better or worse than the first, by the corrected test."""
    words = [
        f"{side.name} {VERBS[row['against_first'][metric]['verdict']]}"
        for side, row in zip(sides[1:], compared["rows"][1:], strict=True)
    ]
    return sentence("Against {}: {} ({}).", sides[0].name, ", ".join(words), DECISION)


def _changes(sides: list[Side], store: ArtifactStore) -> Section:
    each = [(side.name, *changes(sides[0].run, side.run, store)) for side in sides[1:]]
    return section("side_by_side.changes", "What differs", first=sides[0].name, each=each)


def _strata(sides: list[Side]) -> Section | None:
    by_dimension: dict[str, list[dict[str, Any]]] = {}
    metrics: set[str] = set()
    for side in sides:
        own = (pl.col(columns.SPLIT) == TEST) & (pl.col(columns.BRANCH) == FUSED)
        for row in side.inputs.strata.filter(own).rows(named=True):
            metrics.add(row[columns.NAME])
            values = {name: row[name] for name in (columns.VALUE, columns.LOW, columns.HIGH)}
            group = {"group": row[columns.STRATUM], "series": side.name}
            by_dimension.setdefault(row[columns.DIMENSION], []).append({**group, **values})
    if not by_dimension:
        return None
    drawn = [_stratum(sides, name, rows) for name, rows in by_dimension.items()]
    title = "For whom and for what"
    return section("side_by_side.strata", title, drawn=drawn, metrics=sorted(metrics))


def _stratum(sides: list[Side], dimension: str, rows: list[dict[str, Any]]) -> figures.Figure:
    value = {(row["group"], row["series"]): row["value"] for row in rows}
    groups = list(dict.fromkeys(row["group"] for row in rows))
    cells = [
        [
            group,
            *(
                number(f"strata.{dimension}.{group}.{side.name}", value.get((group, side.name)))
                for side in sides
            ),
        ]
        for group in groups
    ]
    ends = sides[0].name, sides[-1].name
    spans = {
        group: abs(value[group, ends[1]] - value[group, ends[0]])
        for group in groups
        if all((group, end) in value for end in ends)
    }
    text = Markup("")  # a run without pictures has no groups by picture
    if spans:
        most = max(spans, key=lambda group: spans[group])
        span = number(f"span.{dimension}", spans[most])
        text = sentence("{} and {} differ most for “{}”, by {}.", *ends, most, span)
    name = "strata-" + "".join(letter if letter.isalnum() else "-" for letter in dimension)
    chart = figures.grouped(rows, "test recall")
    table = Table(["", *(side.name for side in sides)], cells)
    return figures.figure(name, f"By {dimension}", chart, text, table)


def _diagnosis(sides: list[Side]) -> Section | None:
    """The rates side by side, and where the pairs moved; of the runs that have a diagnosis."""
    able = [side for side in sides if not side.inputs.diagnosis["cannot"]]
    if not able:
        return None
    quantities: list[tuple[str, tuple[str, ...]]]
    quantities = [("cross-modal confusion, by score", ("confusion", "by_score", "above"))]
    quantities += [(name, (name,)) for name in (schemas.DEGENERATION, schemas.SYNERGY)]
    quantities += [(f"set: {text}", ("sets", name)) for name, text in SET_NAMES.items()]
    k = {side.name: side.inputs.diagnosis["k"] for side in able}
    rows: list[list[Any]] = [["K (diagnosis.k)", *(f"{each}" for each in k.values())]]
    rows += [[text, *(_rate(side, path) for side in able)] for text, path in quantities]
    others = [side.name for side in able if k[side.name] != k[able[0].name]]
    matrices = [(side.name, _matrix(able[0], side)) for side in able[1:] if side.name not in others]
    return section(
        "side_by_side.diagnosis",
        "Diagnosis",
        table=Table(["", *(side.name for side in able)], rows),
        matrices=matrices,
        first=able[0].name,
        others=others,
        own=[side.name for side in able if side.inputs.diagnosis["fused"] != FUSED],
        without=[side.name for side in sides if side not in able],
    )


def _rate(side: Side, path: tuple[str, ...]) -> Markup:
    found = side.inputs.diagnosis
    for name in path:
        found = found[name]
    return number(f"diagnosis.{side.name}.{'.'.join(path)}", found["value"], "percent")


def _matrix(first: Side, other: Side) -> Table:
    moved = transitions(first.inputs.pairs.to_arrow(), other.inputs.pairs.to_arrow())
    counts = {(row["from"], row["to"]): row["pairs"] for row in moved}
    rows = [
        [
            text,
            *(
                number(f"moved.{other.name}.{start}.{end}", counts[start, end], "count")
                for end in SET_NAMES
            ),
        ]
        for start, text in SET_NAMES.items()
    ]
    return Table(["", *SET_NAMES.values()], rows)


def _users(sides: list[Side], count: int) -> Section | None:
    """The lists of the test users whose first items differ most between the runs."""
    if not count:
        return None
    split = sides[0].inputs.split
    test = split.filter(pl.col(columns.SPLIT) == TEST)
    lists = [_lists(side) for side in sides]
    common = sorted({*test[USER].to_list()} & set(lists[0]).intersection(*lists[1:]))
    alike = {
        user: len(set(lists[0][user]).intersection(*(each[user] for each in lists[1:])))
        for user in common
    }
    chosen = sorted(common, key=lambda user: (alike[user], user))[:count]
    gallery = Gallery(sides[0].inputs)
    names = sides[0].inputs.users[columns.USER_ID]
    stories = []
    for user in chosen:
        held_out = test.filter(pl.col(USER) == user)[ITEM].to_list()
        tiles = [
            (side.name, _cards(gallery, each[user], held_out))
            for side, each in zip(sides, lists, strict=True)
        ]
        stories.append((names[user], [gallery.card(item) for item in held_out[:SHOWN]], tiles))
    return section(
        "side_by_side.users",
        "The same users",
        stories=stories,
        shown=SHOWN,
        left_out=gallery.left_out,
    )


def _lists(side: Side) -> dict[int, list[int]]:
    """The first items of every user."""
    table = side.inputs.recommendations.filter(pl.col(RANK) <= SHOWN).sort(USER, RANK)
    grouped = table.group_by(USER, maintain_order=True).agg(ITEM)
    return dict(grouped.rows())


def _cards(gallery: Gallery, items: list[int], held_out: list[int]) -> list[Card]:
    return [gallery.card(item, mark="in test" if item in held_out else "") for item in items]
