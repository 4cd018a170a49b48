"""A benchmark's table."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brmrs.experiments.cells import cells
from flows.cli.console import folding_table


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
