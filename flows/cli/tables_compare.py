"""A benchmark's table."""

from collections.abc import Collection
from typing import Any

from rich.console import Console

from brmrs.experiments.cells import cells
from flows.cli.console import fitting_table, folding_table, line

TESTS = ("p (Holm)", "p (BH)")
SHORT_NAME = 8  # characters
WORDS = ("model", "settings", "learned from")  # columns of text, not of numbers


def benchmark(console: Console, result: dict[str, Any]) -> None:
    """One line per recommender, then the meaning of the columns, the conditions, and failures."""
    rows = [cells(row, result) for row in result["rows"]]
    names = list(rows[0])
    k = result["headline"].partition("@")[2]
    smaller = [name for name in names if name.startswith("test ") and not name.endswith(f"@{k}")]
    validation = f"validation {result['headline']}"
    optional = ("best epoch", "s/epoch", "seeds", *smaller, "learned from", validation)
    kept = (validation, f"test {result['headline']}")
    others = [name for name in names if name.endswith(f"@{k}") and name not in kept]
    hidden = fitting_table(
        console,
        names,
        [list(row.values()) for row in rows],
        numbers=[name for name in names if name not in WORDS],
        constant=("settings", "seeds", "learned from"),
        optional=(*optional, *others, "settings", "95 % interval"),
        title=", ".join(filter(None, (result["name"], result["note"]))),
    )
    for text in notes(result, hidden):
        line(console, text)
    for row in result["rows"]:
        if row["files"]:
            settings = f"settings of {row['model']}: {', '.join(row['files'])}"
            line(console, settings)
        for fault in row["faults"]:
            line(console, (f"{row['model']} failed", "red"), f", {fault}")


def runs(console: Console, result: dict[str, Any]) -> None:
    """For each metric a line per run, then the meaning of the columns that are shown."""
    hidden = set(result["definitions"])  # columns that no table shows
    for metric in result["metrics"]:
        hidden &= set(
            fitting_table(
                console,
                ["run", "model", "seed", metric, "difference", "low", "high", "effect", *TESTS],
                [_of_run(row, metric) for row in result["rows"]],
                numbers=("seed", metric, "difference", "low", "high", "effect", *TESTS),
                constant=("seed",),
                optional=("seed", "p (BH)", "effect"),
                title=f"{result['data']}, {result['split']}, {result['users']:,} users",
            )
        )
    for name, text in result["definitions"].items():
        if name not in hidden:
            line(console, f"{name}: {text}")
    line(console, f"comparisons in all: {result['comparisons']}")


def _of_run(row: dict[str, Any], metric: str) -> list[str]:
    # The end of a run's name, which every command takes.
    shown = [row["run"][-SHORT_NAME:], row["model"], str(row["seed"])]
    shown.append(f"{row['values'][metric]:.4f}")
    against = row["against_first"].get(metric)
    if against is None:
        return [*shown, *[""] * 6]
    values = [f"{against[name]:+.4f}" for name in ("difference", "low", "high")]
    tests = [f"{against[name]:.2g}" for name in ("p_holm", "p_bh")]
    return [*shown, *values, f"{against['effect']:+.2f}", *tests]


def notes(result: dict[str, Any], hidden: Collection[str] = ()) -> list[str]:
    """The meaning of the columns that are shown, and the conditions of the measurement."""
    rows = result["rows"]
    against = f"that of {result['reference']}"
    if rows[0]["faults"] and not rows[0]["seeds"] and rows[1:]:
        against += ", which failed, so nothing is compared"
    tests = {
        "95 % interval": "paired bootstrap over the users",
        "p": "Wilcoxon signed-rank test of the differences, corrected by Holm for the number of "
        "models",
    }
    lines = ["settings and epochs are chosen on validation data, never on test data"]
    if any(len(row["seeds"]) > 1 for row in rows):
        lines.append("±: standard deviation over the seeds")
    if "difference" not in hidden:
        lines.append(
            f"difference: test {result['headline']} minus {against}; mean over "
            f"{result['users']:,} users and the seeds"
        )
    shown = [f"{name}: {text}" for name, text in tests.items() if name not in hidden]
    lines += ["; ".join(shown)] if shown else []
    lines += [f"{name}: {text}" for name, text in result["conditions"].items()]
    by_tuning = {
        tuned: [row["model"] for row in rows if row["tuned"] is tuned] for tuned in (True, False)
    }
    if all(by_tuning.values()):
        lines.append(
            f"warning: {', '.join(by_tuning[True])} tuned on this data set, "
            f"{', '.join(by_tuning[False])} not; a difference may come from the tuning (brmrs tune)"
        )
    return lines


def tuning(console: Console, result: dict[str, Any], best: int) -> None:
    """The trials, and the file of the winner."""
    table = folding_table("trial", "state", "epochs", "validation", "parameters", box=None)
    for trial in result["trials"]:
        value = "" if trial["state"] == "diverged" else f"{trial['value']:.4f}"
        parameters = " ".join(f"{name}={x:.3g}" for name, x in trial["parameters"].items())
        cells = [str(trial["number"]), trial["state"], str(trial["epochs"]), value, parameters]
        table.add_row(*cells, style="bold" if trial["number"] == best else "")
    console.print(table)
    instead = " in place of the file that was there" if result["replaced"] else ""
    told = f"winner: trial {best}, written to {result['file']}{instead}"
    line(console, told)
