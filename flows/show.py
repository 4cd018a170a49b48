"""Tables on the terminal."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brmrs import columns
from brmrs.files import read_json
from brmrs.plan import Step
from brmrs.stages import ITEMS

USERS_SHOWN = 5
ITEMS_SHOWN = 3
STATE_STYLE = {"ran": "yellow", "cached": "green", "runs": "yellow", "waits": "cyan"}


def run(console: Console, summary: dict[str, Any]) -> None:
    """The end of a run: stages, metrics, a few recommendations, the report."""
    stages = Table("stage", "state", "seconds", "size", "artifact", title=f"run {summary['run']}")
    for column in stages.columns[2:4]:
        column.justify = "right"
    for stage in summary["stages"]:
        stages.add_row(
            stage["name"],
            _styled(stage["state"]),
            f"{stage['seconds']:.1f}",
            _size(stage["bytes"]),
            stage["digest"][:12],
        )
    console.print(stages)
    console.print(f"{summary['seconds']:.1f} s in all")
    folders = {stage["name"]: Path(stage["path"]) for stage in summary["stages"]}
    if summary["metrics"]:
        _metrics(console, folders["evaluate"] / "metrics.json", summary["note"])
    if "publish" in folders:
        _recommendations(console, folders)
    if "report" in folders:
        console.print(f"report: {folders['report'] / 'report.html'}", soft_wrap=True)


def plan(console: Console, steps: list[Step]) -> None:
    """One line per stage."""
    table = Table("stage", "state", "why", box=None)
    for step in steps:
        table.add_row(step.stage, _styled(step.state), escape("; ".join(step.reasons)))
    console.print(table)


def items(console: Console, rows: list[dict[str, Any]]) -> None:
    """Ranked items with titles."""
    table = Table("rank", "asin", "score", "title")
    for row in rows:
        cells = str(row["rank"]), row["asin"], f"{row['score']:.4f}", row["title"]
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


def doctor(console: Console, checks: list[Any]) -> None:
    """One line per check."""
    for check in checks:
        mark = "[green]ok[/]  " if check.ok else "[red]fail[/]"
        console.print(f"{mark} {check.name}: {escape(check.finding)}", soft_wrap=True)


def titles(items_file: Path) -> dict[str, str]:
    """ASIN to title, of an items table."""
    asins, names = _columns(items_file, columns.ASIN, columns.TITLE)
    return dict(zip(asins, names, strict=True))


def _metrics(console: Console, path: Path, note: str) -> None:
    """Test metrics of the model beside the yardstick."""
    metrics = read_json(path)
    test = columns.SPLIT_NAMES[columns.TEST]
    rows = {metrics["model"]: metrics[test]}
    rows |= {name: values[test] for name, values in metrics["baseline"].items()}
    names = sorted(metrics[test], key=columns.by_metric)
    cut_offs = sorted({int(name.partition("@")[2]) for name in names})
    users = metrics["users"][test]
    table = Table("", title=f"test metrics, all-ranking, {users:,} users")
    for row in rows:
        for k in cut_offs:
            table.add_column(f"{row if k == cut_offs[0] else ''}\n@{k}", justify="right")
    for metric in columns.METRICS:
        cells = [values[columns.metric(metric, k)] for values in rows.values() for k in cut_offs]
        table.add_row(metric, *(f"{cell:.4f}" for cell in cells))
    console.print(table)
    labels = [
        f"{name}: {feature['label']}, {feature['present']:,} of {feature['items']:,} items"
        for name, feature in metrics["features"].items()
    ]
    console.print(escape("; ".join([*labels, note] if note else labels)), soft_wrap=True)


def _recommendations(console: Console, folders: dict[str, Path]) -> None:
    names = titles(folders["ingest"] / Path(ITEMS).name)
    users, ranks, asins = _columns(
        folders["publish"] / "recommendations.parquet",
        columns.USER_ID,
        columns.RANK,
        columns.ASIN,
    )
    table = Table("user", "recommended", title="recommendations")
    shown: dict[str, list[str]] = {}
    for user, rank, asin in zip(users, ranks, asins, strict=True):
        if user not in shown and len(shown) == USERS_SHOWN:
            break
        if rank <= ITEMS_SHOWN:
            shown.setdefault(user, []).append(f"{rank}. {names[asin] or asin}")
    for user, lines in shown.items():
        table.add_row(escape(user), escape("\n".join(lines)))
    console.print(table)


def _columns(path: Path, *names: str) -> list[list[Any]]:
    table = pq.read_table(path, columns=list(names))
    return [table[name].to_pylist() for name in names]


def _styled(state: str) -> str:
    return f"[{STATE_STYLE[state]}]{state}[/]"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
