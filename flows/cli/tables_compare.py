"""A benchmark's table."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brmrs import columns
from flows.cli.console import folding_table

SHOWN_CUT_OFFS = 2  # the largest; --json has all
SHOWN_METRICS = ("recall", "ndcg")


def benchmark(console: Console, result: dict[str, Any]) -> None:
    """One line per recommender, then what failed and what the columns mean."""
    rows = [cells(row, result) for row in result["rows"]]
    table = Table(title=escape(f"{result['name']} {result['note']}".strip()))
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "model" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row.values()))
    console.print(table)
    console.print(
        "mean ± standard deviation over seeds; test decides nothing. Difference and p (Wilcoxon "
        f"signed-rank, uncorrected): test {result['headline']} of {result['users']:,} users, mean "
        f"over seeds, against {result['reference']}" + _not_compared(result),
        soft_wrap=True,
        highlight=False,
    )
    for row in result["rows"]:
        if row["files"]:
            settings = f"settings of {row['model']}: {', '.join(row['files'])}"
            console.print(escape(settings), soft_wrap=True)
        for fault in row["faults"]:
            console.print(f"[red]{row['model']} failed[/], {escape(fault)}", soft_wrap=True)


def _not_compared(result: dict[str, Any]) -> str:
    """Why there is no difference at all."""
    first, *others = result["rows"]
    if first["faults"] and not first["seeds"] and others:
        return ", which failed, so nothing is compared"
    return ""


def tuning(console: Console, result: dict[str, Any], best: int) -> None:
    """The trials, and where the winner stands."""
    names = list(result["trials"][0]["parameters"])
    table = folding_table("trial", "state", "epochs", "validation", *names, box=None)
    for trial in result["trials"]:
        value = "" if trial["state"] == "diverged" else f"{trial['value']:.4f}"
        cells = [str(trial["number"]), trial["state"], str(trial["epochs"]), value]
        cells += [f"{trial['parameters'][name]:.3g}" for name in names]
        table.add_row(*cells, style="bold" if trial["number"] == best else "")
    console.print(table)
    instead = " in place of the file that was there" if result["replaced"] else ""
    told = f"winner: trial {best}, written to {result['file']}{instead}"
    console.print(escape(told), soft_wrap=True)


def cells(row: dict[str, Any], result: dict[str, Any]) -> dict[str, str]:
    """The cells of a recommender's line, by column."""
    headline = result["headline"]
    shown = {
        "model": row["model"],
        "seeds": f"{len(row['seeds'])} of {len(row['seeds']) + len(row['faults'])}",
        f"validation {headline}": _spread(row["validation"].get(headline)),
    }
    measured = {name for each in result["rows"] for name in each["test"]}
    cut_offs = sorted({int(name.partition("@")[2]) for name in measured})[-SHOWN_CUT_OFFS:]
    for name in (columns.metric(kind, k) for kind in SHOWN_METRICS for k in cut_offs):
        shown[f"test {name}"] = _spread(row["test"].get(name))
    against = row.get("against_reference")
    shown["difference"] = f"{against['difference']:+.4f}" if against else ""
    shown["p"] = f"{against['p']:.2g}" if against else ""
    shown["s/epoch"] = _spread(row["seconds_per_epoch"], 2)
    shown["best epoch"] = ", ".join(map(str, row["best_epochs"]))
    return shown


def _spread(value: dict[str, Any] | None, digits: int = 4) -> str:
    if value is None:
        return ""
    deviation = value["deviation"]
    text = f"{value['mean']:.{digits}f}"
    return text if deviation is None else f"{text} ± {deviation:.{digits}f}"
