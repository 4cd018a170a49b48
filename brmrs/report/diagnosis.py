"""The diagnosis: which branch finds an item, what confuses, margins, samplers, information."""

from typing import Any

from markupsafe import Markup

from brmrs import columns
from brmrs.columns import FUSED, MODALITIES
from brmrs.diagnosis import schemas
from brmrs.report import figures
from brmrs.report.estimates import cells_of, dot, grouped, percent
from brmrs.report.inputs import Inputs
from brmrs.report.margins import histogram, quadrants, samplers
from brmrs.report.numbers import Table, number, sentence
from brmrs.report.page import Section, section

# The sets in the order of the bars, with their names on the page.
SET_NAMES = {
    schemas.BOTH: "both branches",
    schemas.ONLY_TEXT: "only text",
    schemas.ONLY_VISUAL: "only visual",
    schemas.SYNERGY: "only the fusion",
    schemas.DEGENERATION: "a branch, not the fusion",
    schemas.NONE: "none",
}
SET_COLOURS = dict(
    zip(SET_NAMES.values(), ("ink", "text", "visual", "fused", "mark", "grid"), strict=True)
)
PART_NAMES = {
    schemas.EITHER: "either",
    schemas.ALONE_TEXT: "text alone",
    schemas.ALONE_VISUAL: "picture alone",
    schemas.BY_SUM: "both, by their sum",
    schemas.BEYOND_SUM: "both, beyond their sum",
}


def diagnosis(inputs: Inputs) -> Section:
    """All figures of the diagnosis, or one line on what the model's branches do not allow."""
    found = inputs.diagnosis
    drawn = []
    if not found["cannot"]:
        drawn = [_sets(inputs), _confusion(inputs), histogram(inputs), quadrants(inputs)]
        drawn += [samplers(inputs), *_information(inputs)]
    return section(
        "diagnosis",
        "Diagnosis: text against picture",
        cannot=found["cannot"],
        fused=found["fused"],
        drawn=[*drawn, *_types(inputs)],
        pairs=number("diagnosis.pairs", found["pairs"], "count"),
        users=number("diagnosis.users", found["users"], "count"),
        definitions=[] if found["cannot"] else _definitions(found),
    )


def _definitions(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), text) for name, text in found["definitions"].items()]


def _sets(inputs: Inputs) -> figures.Figure:
    """The sets of held-out pairs, of all users and by stratum."""
    table = inputs.sets.rows(named=True)
    groups: dict[str, dict[str, float]] = {}
    keys: dict[str, str] = {}
    for row in table:
        if row[columns.DIMENSION] == "time":
            continue
        dimension, stratum = row[columns.DIMENSION], row[columns.STRATUM]
        name = _group(dimension, stratum)
        groups.setdefault(name, {})[row[schemas.SET]] = row[columns.VALUE]
        keys[name] = f"sets.{dimension}.{stratum}"
    rows = [
        {"group": group, "series": text, "share": shares.get(name, 0.0), "place": place}
        for group, shares in groups.items()
        for place, (name, text) in enumerate(SET_NAMES.items())
    ]
    cells = [
        [
            group,
            *(number(f"{keys[group]}.{name}", shares.get(name), "percent") for name in SET_NAMES),
        ]
        for group, shares in groups.items()
    ]
    found = inputs.diagnosis
    text = sentence(
        "The fusion alone finds {} of the held-out items. It misses {} that a branch finds. Pooled "
        "over all pairs, it misses {} of what the branches find, and neither branch has {} of its "
        "hits.",
        percent("sets.all.all.synergy", found["sets"][schemas.SYNERGY]),
        percent("sets.all.all.degeneration", found["sets"][schemas.DEGENERATION]),
        percent("rates.degeneration", found["degeneration"]),
        percent("rates.synergy", found["synergy"]),
    )
    return figures.figure(
        "sets",
        f"Who has the held-out item in the first {found['k']}",
        figures.shares(rows, "share of the held-out items, mean over users", SET_COLOURS),
        text,
        Table(["", *SET_NAMES.values()], cells, frozenset({0})),
    )


def _group(dimension: str, stratum: str) -> str:
    """The name of a group of pairs."""
    if dimension == schemas.ALL:
        return "all"
    alone = dimension in ("text", "picture")  # "with text" is clear without the dimension
    return stratum if alone else f"{dimension}: {stratum.replace('_', ' ')}"


def _confusion(inputs: Inputs) -> figures.Figure:
    found = inputs.diagnosis["confusion"]
    rows, cells = [], []
    for way in ("by_score", "by_cosine"):
        for kind in (schemas.ABOVE, schemas.UNIFORM):
            each = (found.get(way) or {}).get(kind)
            if each is None or each["value"] is None:
                continue
            name = f"{way.replace('_', ' ')}, {'above' if kind == schemas.ABOVE else 'uniform'}"
            series = FUSED if kind == schemas.ABOVE else columns.BASELINE
            rows.append(dot(name, series, each, f"{100 * each['value']:.1f} %"))
            cells.append([name, *cells_of(f"confusion.{way}.{kind}", each, "percent")])
    above, uniform = (found["by_score"][kind] for kind in (schemas.ABOVE, schemas.UNIFORM))
    text = sentence(
        "By the scores of the branches, exactly one modality confuses {} of the negatives that "
        "rank above the held-out item, and {} of uniform negatives. The fused "
        "score selects the first ones, which alone can make the shares differ.",
        percent(f"confusion.by_score.{schemas.ABOVE}.value", above),
        percent(f"confusion.by_score.{schemas.UNIFORM}.value", uniform),
    )
    return figures.figure(
        "confusion",
        "Negatives that exactly one modality confuses",
        figures.dots(rows, "share of the negatives", percent=True),
        text,
        Table(["negatives", "share", "95 % interval"], cells),
    )


def _information(inputs: Inputs) -> list[figures.Figure]:
    """The parts of the information; none without pairs of both splits."""
    found = inputs.diagnosis["information"]
    if found is None:
        return []
    parts = found["parts"]
    rows = [
        dot(called, FUSED, parts[name], f"{parts[name]['value']:z.3f}")
        for name, called in PART_NAMES.items()
        if parts[name]["value"] is not None
    ]
    cells = [
        [called, *cells_of(f"information.{name}", parts[name], "decimal")]
        for name, called in PART_NAMES.items()
    ]
    known = found["known"]
    text = sentence(
        "Which of a held-out item and a uniform negative is held out is 1 bit. The text branch "
        "tells {} of it, the visual branch {}, all three {}. These are lower bounds, from a linear "
        "fit; “either” is what both tell alike.",
        *(
            number(f"information.{name}", known[name]["value"], "decimal")
            for name in (schemas.KNOWN_TEXT, schemas.KNOWN_VISUAL, schemas.KNOWN_ALL)
        ),
    )
    chart = figures.dots(rows, "bits", zero=False)
    table = Table(["", "bits", "95 % interval"], cells)
    return [figures.figure("information", "What tells the items apart", chart, text, table)]


def _types(inputs: Inputs) -> list[figures.Figure]:
    """Recall by the planted type; none where the truth is not known."""
    rows = inputs.types.rows(named=True)
    if not rows:
        return []
    shown = [name for name in (FUSED, *MODALITIES) if any(r[columns.BRANCH] == name for r in rows)]
    ordered = [row for name in shown for row in rows if row[columns.BRANCH] == name]
    chart = figures.grouped(
        [
            grouped(row[columns.STRATUM].replace("_", " "), row[columns.BRANCH], row)
            for row in ordered
        ],
        f"test {rows[0][columns.NAME]}",
    )
    cells = []
    for stratum in dict.fromkeys(row[columns.STRATUM] for row in ordered):
        of = {row[columns.BRANCH]: row for row in rows if row[columns.STRATUM] == stratum}
        first = next(iter(of.values()))
        cells.append(
            [
                stratum.replace("_", " "),
                number(f"types.{stratum}.pairs", first[columns.N_PAIRS], "count"),
                *(
                    number(f"types.{stratum}.{name}", of[name][columns.VALUE]) if name in of else ""
                    for name in shown
                ),
            ]
        )
    return [
        figures.figure(
            "types",
            "By the planted type of the interaction",
            chart,
            _best_by_type(ordered),
            Table(["", "held-out items", *shown], cells),
        )
    ]


def _best_by_type(rows: list[dict[str, Any]]) -> Markup:
    """Which unimodal branch is better on the types that only one modality shows."""
    value = {(row[columns.STRATUM], row[columns.BRANCH]): row[columns.VALUE] for row in rows}
    words = []
    for planted in (columns.TEXT_UNIQUE, columns.VISUAL_UNIQUE):
        both = [value.get((planted, name)) for name in MODALITIES]
        if both[0] is not None and both[1] is not None:
            words.append(
                sentence(
                    "for items that are liked for what only the {} shows, the text branch reaches "
                    "{} and the visual branch {}",
                    "text" if planted == columns.TEXT_UNIQUE else "picture",
                    *(
                        number(f"types.{planted}.{name}", value, "decimal")
                        for name, value in zip(MODALITIES, both, strict=True)
                    ),
                )
            )
    if not words:
        return Markup("Planted types are known for the sample only.")
    return sentence("Known for the sample only: {}.", Markup("; ").join(words))
