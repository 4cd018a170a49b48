"""Tables of a diagnosis, for 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from brmrs.columns import BRANCH, DIMENSION, N_PAIRS, STRATUM, TYPE, VALUE
from brmrs.diagnosis import schemas
from brmrs.diagnosis.schemas import NEGATIVES, PARTS, QUADRANTS, SAMPLERS, SETS, SYNERGY
from flows.cli.console import fitting_table, line

ENDS = ("value", "low", "high")

# What the words of a table mean, below it.
SET_NOTES = (
    "value: mean over the users of the share of their held-out items in the set",
    "low, high: ends of the 95 % bootstrap interval over the users",
    "only_text, only_visual, both: fused and these of the other two branches have it",
    "synergy: only fused has it; none: no branch has it",
    "degeneration: text or visual has it, fused does not",
)
RATE_NOTES = (
    "degeneration: of the items that text or visual has, the share that fused lacks",
    "synergy: of the items that fused has, the share that text and visual lack",
)
SAMPLER_NOTES = (
    "margin: mean score of the held-out item minus that of the negative",
    "standard deviations: of the margins of the branch against uniform negatives",
    "false negatives: probability that the drawn item is held out for the user",
)
PART_NOTES = (
    "value: bits by which the margins tell which of the two is held out",
    "1 is certainty, 0 is a coin. A regression on validation pairs gives the weights.",
    "text_alone, visual_alone: only this branch has them; either: both branches have them",
    "both_by_sum: a weighted sum of text and visual adds them to the better of the two",
    "both_beyond_sum: fused adds them to that sum",
)


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
        f"{found['users']:,} users",
    )
    line(console, f"Recall@{found['k']}: {recall}")
    line(console, "pair: a user and a held-out item; text, visual, fused: branches of the model")
    if found["cannot"]:
        line(console, found["cannot"])
    else:
        _of_branches(console, found)
    if found["types"]:
        _types(console, found["types"], sets)
    if "transitions" in found:
        _transitions(console, found["transitions"], found["against"])
    if "retrained" in found:
        _retrained(console, found["retrained"])


def _table(
    console: Console,
    title: str,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
) -> None:
    """A table of one column of names and columns of numbers: the title above, its words below."""
    line(console, "")
    line(console, (title, "bold"))
    fitting_table(console, names, rows, numbers=names[1:])
    for note in notes:
        line(console, note)


def _of_branches(console: Console, found: Mapping[str, Any]) -> None:
    if found["fused"] != "fused":
        line(console, f"fused is the branch {found['fused']}, without residual scores")
    title = f"held-out items by the branches whose first {found['k']} have them"
    _shares(console, title, SETS, found["sets"], SET_NOTES)
    rates = {name: found[name] for name in ("degeneration", "synergy")}
    title = "shares of the hits of text or visual (degeneration) and of fused (synergy)"
    _shares(console, title, tuple(rates), rates, RATE_NOTES)
    _confusion(console, found)
    _quadrants(console, found)
    _samplers(console, found["samplers"], found["pool"])
    if found["information"]:
        title = "bits about the order of a held-out and a random item"
        _shares(console, title, PARTS, found["information"]["parts"], PART_NOTES, digits=3)


def _shares(
    console: Console,
    title: str,
    names: Sequence[str],
    found: Mapping[str, Any],
    notes: Sequence[str],
    digits: int = 4,
) -> None:
    rows = [[name, *(_share(found[name][end], digits) for end in ENDS)] for name in names]
    _table(console, title, ["", *ENDS], rows, notes)


def _confusion(console: Console, found: Mapping[str, Any]) -> None:
    names = ["", *ENDS, "of uniform", "negatives"]
    rows = []
    for by in ("by_score", "by_cosine"):
        kinds = found["confusion"][by]
        if kinds is None:
            rows.append([by, *["-"] * 5])
            continue
        above, uniform = kinds[schemas.ABOVE], kinds[schemas.UNIFORM]
        cells = [*(_share(above[end]) for end in ENDS), _share(uniform["value"])]
        rows.append([by, *cells, f"{above['negatives']:,}"])
    title = "negatives above the held-out item that exactly one modality confuses"
    k, share = found["k"], f"{100 * found['top_share']:.3g}"
    notes = [
        f"negatives: the items of the first {k} of fused above the held-out item",
        f"If it is not among the first {k}, all of them count.",
        "by_score: text or visual scores the negative at least as high, the other lower",
        f"by_cosine: for text or visual, the cosine with the held-out item is in its top {share} %",
        "For the other, it is not. Only items with both modalities are compared.",
        "of uniform: the same share of items that are drawn uniformly",
    ]
    if found["confusion"]["by_cosine"] is None:
        notes[3:5] = ["by_cosine: not measured without the features of both modalities"]
    _table(console, title, names, rows, notes)


def _quadrants(console: Console, found: Mapping[str, Any]) -> None:
    names = ["", *NEGATIVES]
    shares = found["quadrants"]
    rows = [[q, *(_share(shares[kind][q]["value"]) for kind in NEGATIVES)] for q in QUADRANTS]
    notes = [
        "text_separates: only text scores the held-out item above the negative",
        "visual_separates: only visual does so; equal scores do not separate",
        f"above: items of the first {found['k']} of fused above the held-out item",
        "uniform: one item, drawn uniformly",
        f"hardest_by_text, hardest_by_visual: of {found['pool']} drawn items the one with the "
        "highest score",
    ]
    _table(console, "negatives by what separates them", names, rows, notes)


def _samplers(console: Console, found: Mapping[str, Any], pool: int) -> None:
    names = ["", *(f"{b} margin" for b in schemas.BRANCHES), "false negatives"]
    rows = []
    for name in SAMPLERS:
        sampler = found[name]
        cells = [_share(sampler["margin"][b]["value"], 2) for b in schemas.BRANCHES]
        rows.append([name, *cells, _share(sampler["false_negatives"], 5)])
    title = f"negatives of the samplers, pool of {pool}; margins in standard deviations"
    _table(console, title, names, rows, SAMPLER_NOTES)


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
    notes = ["planted type: what the interaction depends on, by the truth of the sample"]
    _table(console, title, names, rows, notes)


def _transitions(console: Console, rows: Sequence[Mapping[str, Any]], against: str) -> None:
    counts = {(row["from"], row["to"]): row["pairs"] for row in rows}
    names = ["from / to", *SETS]
    cells = [[old, *(f"{counts[old, new]:,}" for new in SETS)] for old in SETS]
    notes = [f"from / to: a row is the set in run {against}, a column the set in this run"]
    _table(console, f"pairs since run {against}, from and to", names, cells, notes)


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
    for sentence in found["definition"].split(". "):
        line(console, sentence)


def _share(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"
