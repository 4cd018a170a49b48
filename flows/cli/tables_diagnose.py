"""Tables of a diagnosis, for 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from brmrs.columns import BRANCH, DIMENSION, N_PAIRS, STRATUM, TYPE, VALUE
from brmrs.diagnosis import schemas
from brmrs.diagnosis.schemas import NEGATIVES, PARTS, QUADRANTS, SAMPLERS, SETS, SYNERGY
from flows.cli.console import fitting_table, line

ENDS = ("value", "low", "high")


def diagnosis(
    console: Console, found: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]
) -> None:
    """All tables of a result of `brmrs diagnose`.

    Args:
        console: where to.
        found: as `--json` gives it.
        sets: the rows of `sets.parquet`.
    """
    recall = ", ".join(f"{name} {_share(x['value'])}" for name, x in found["recall"].items())
    line(
        console,
        f"run {found['run']}, {found['model']}: {found['pairs']:,} test pairs of "
        f"{found['users']:,} users; Recall@{found['k']}: {recall}",
    )
    if found["cannot"]:
        line(console, found["cannot"])
    else:
        _of_branches(console, found)
    if found["types"]:
        _types(console, found["types"], sets)
    if not found["cannot"]:
        line(console, "")
        for name, text in found["definitions"].items():
            line(console, f"{name}: {text}")
    if "transitions" in found:
        _transitions(console, found["transitions"], found["against"])
    if "retrained" in found:
        _retrained(console, found["retrained"])


def _table(
    console: Console, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """A table of one column of names and columns of numbers, with its title in a line above."""
    line(console, "")
    line(console, (title, "bold"))
    fitting_table(console, names, rows, numbers=names[1:])


def _of_branches(console: Console, found: Mapping[str, Any]) -> None:
    if found["fused"] != "fused":
        line(console, f"fused is the branch {found['fused']}, without residual scores")
    title = f"held-out items by the branches whose first {found['k']} have them"
    _shares(console, title, SETS, found["sets"])
    rates = {name: found[name] for name in ("degeneration", "synergy")}
    title = "shares of the hits of text or visual (degeneration) and of fused (synergy)"
    _shares(console, title, tuple(rates), rates)
    _confusion(console, found["confusion"])
    _quadrants(console, found["quadrants"])
    _samplers(console, found["samplers"], found["pool"])
    if found["information"]:
        title = "bits about the order of a held-out and a random item"
        _shares(console, title, PARTS, found["information"]["parts"], digits=3)


def _shares(
    console: Console, title: str, names: Sequence[str], found: Mapping[str, Any], digits: int = 4
) -> None:
    rows = [[name, *(_share(found[name][end], digits) for end in ENDS)] for name in names]
    _table(console, title, ["", *ENDS], rows)


def _confusion(console: Console, found: Mapping[str, Any]) -> None:
    names = ["", *ENDS, "of uniform", "negatives"]
    rows = []
    for by in ("by_score", "by_cosine"):
        kinds = found[by]
        if kinds is None:
            rows.append([by, *["-"] * 5])
            continue
        above, uniform = kinds[schemas.ABOVE], kinds[schemas.UNIFORM]
        cells = [*(_share(above[end]) for end in ENDS), _share(uniform["value"])]
        rows.append([by, *cells, f"{above['negatives']:,}"])
    title = "negatives above the held-out item that exactly one modality confuses"
    _table(console, title, names, rows)


def _quadrants(console: Console, found: Mapping[str, Any]) -> None:
    names = ["", *NEGATIVES]
    rows = [[q, *(_share(found[kind][q]["value"]) for kind in NEGATIVES)] for q in QUADRANTS]
    _table(console, "negatives by what separates them", names, rows)


def _samplers(console: Console, found: Mapping[str, Any], pool: int) -> None:
    names = ["", *(f"{b} margin" for b in schemas.BRANCHES), "false negatives"]
    rows = []
    for name in SAMPLERS:
        sampler = found[name]
        cells = [_share(sampler["margin"][b]["value"], 2) for b in schemas.BRANCHES]
        rows.append([name, *cells, _share(sampler["false_negatives"], 5)])
    title = f"negatives of the samplers, pool of {pool}; margins in standard deviations"
    _table(console, title, names, rows)


def _types(
    console: Console, types: Sequence[Mapping[str, Any]], sets: Sequence[Mapping[str, Any]]
) -> None:
    recall = {(row[STRATUM], row[BRANCH]): row for row in types}
    shares = {
        (row[STRATUM], row[schemas.SET]): row[VALUE] for row in sets if row[DIMENSION] == TYPE
    }
    pairs = {row[STRATUM]: row[N_PAIRS] for row in types}
    branches = list(dict.fromkeys(row[BRANCH] for row in types))
    names = ["planted type", "pairs", *branches, *([SYNERGY] if shares else [])]
    rows = []
    for kind in pairs:
        cells = [
            _share(recall[kind, branch][VALUE]) if (kind, branch) in recall else "-"
            for branch in branches
        ]
        cells += [_share(shares.get((kind, SYNERGY)))] if shares else []
        rows.append([kind, f"{pairs[kind]:,}", *cells])
    title = f"{types[0]['name']} by planted type, and the share that only the fused branch has"
    _table(console, title, names, rows)


def _transitions(console: Console, rows: Sequence[Mapping[str, Any]], against: str) -> None:
    counts = {(row["from"], row["to"]): row["pairs"] for row in rows}
    names = ["from / to", *SETS]
    cells = [[old, *(f"{counts[old, new]:,}" for new in SETS)] for old in SETS]
    _table(console, f"pairs since run {against}, from and to", names, cells)


def _retrained(console: Console, found: Mapping[str, Any]) -> None:
    for metric in found["metrics"]:
        names = ["", metric, "change", "low", "high", "p (Holm)"]
        rows = [["as they are", f"{found['reference']['values'][metric]:.4f}", *[""] * 4]]
        for row in found["rows"]:
            of = row["against_first"][metric]
            cells = [f"{of[name]:+.4f}" for name in ("difference", "low", "high")]
            what = f"{row['modality']} {row['replaced']}"
            rows.append([what, f"{row['values'][metric]:.4f}", *cells, f"{of['p_holm']:.2g}"])
        title = f"trained again with other features, {found['users']:,} users"
        _table(console, title, names, rows)
    line(console, found["definition"])


def _share(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"
