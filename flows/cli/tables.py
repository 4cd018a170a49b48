"""Tables on the terminal."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brmrs import columns
from brmrs.serving.current import Promotions
from brmrs.stages import ITEMS
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.plan import Step
from brmrs.store.runs import Run
from brmrs.system.files import read_json
from flows.cli.console import folding_table

BAR = 40  # characters of the longest
USERS_SHOWN = 5
ITEMS_SHOWN = 3
FILES_SHOWN = 4
METRICS = "evaluate/metrics.json"
STATE_STYLE = {"ran": "yellow", "cached": "green", "runs": "yellow", "waits": "cyan"}


def run(console: Console, summary: dict[str, Any]) -> None:
    """The end of a run: stages, metrics, a few recommendations, the report."""
    stages = folding_table(
        "stage", "state", "seconds", "size", "artifact", title=f"run {summary['run']}"
    )
    for column in stages.columns[2:4]:
        column.justify = "right"
    for stage in summary["stages"]:
        stages.add_row(
            stage["name"],
            _styled(stage["state"]),
            f"{stage['seconds']:.1f}",
            size(stage["bytes"]),
            stage["digest"][:12],
        )
    console.print(stages)
    console.print(f"{summary['seconds']:.1f} s in all")
    folders = {stage["name"]: Path(stage["path"]) for stage in summary["stages"]}
    if summary["metrics"]:
        _metrics(console, folders["evaluate"] / Path(METRICS).name, summary["note"])
    if "publish" in folders:
        _recommendations(console, folders)
    if "report" in folders:
        console.print(escape(f"report: {folders['report'] / 'report.html'}"), soft_wrap=True)


def plan(console: Console, steps: list[Step]) -> None:
    """One line per stage."""
    table = folding_table("stage", "state", "why", box=None)
    for step in steps:
        table.add_row(step.stage, _styled(step.state), escape("; ".join(step.reasons)))
    console.print(table)


def models(console: Console, rows: list[dict[str, Any]]) -> None:
    """One line per recommender."""
    table = folding_table("model", "what it is", "needs", box=None)
    table.add_column("configuration", overflow="fold")
    for row in rows:
        needs = ", ".join(row["needs"]) or "interactions"
        name = f"{row['name']} *" if row["objective"] else row["name"]
        table.add_row(
            name, escape(row["paper"]), needs, row["configuration"] or f"--set model={row['name']}"
        )
    console.print(table)
    console.print("* takes model.objective: BR-MRS's terms beside its own", soft_wrap=True)


def facts(console: Console, found: dict[str, Any]) -> None:
    """What `brmrs inspect` found."""
    overview = Table(show_header=False, box=None)
    for row in (*_files(found), *_sizes(found)):
        overview.add_row(*row)
    console.print(overview)
    if found.get("ratings"):
        _ratings(console, found["ratings"])
    if "cores" in found:
        _cores(console, found)
    for note in found.get("notes", []):
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)


def _files(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("reviews", "metadata"):
        if found.get(kind, {}).get("lines"):
            yield kind, _lines(found[kind])
            for reason, count in sorted(found[kind]["quarantined"].items()):
                yield "", f"[yellow]{count:,} unusable:[/] {escape(reason)}"
            for field, count in found[kind]["unusable_fields"].items():
                yield "", f"[yellow]{count:,} of a wrong type, left out:[/] {escape(field)}"
            if count := found[kind].get("times_in_other_unit"):
                yield "", f"[yellow]{count:,} dated in s instead of ms, or in ms instead of s[/]"


def _sizes(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("users", "items", "interactions"):
        if name in found:
            yield name, f"{found[name]:,}"
    if "sparsity" in found:
        yield "sparsity", f"{found['sparsity']:.4%}"
    if found.get("time", {}).get("first") is not None:
        first, last = (_day(found["time"][end]) for end in ("first", "last"))
        unknown = found["time"]["unknown"]
        yield "time", f"{first} to {last}" + (f", {unknown:,} without" if unknown else "")
    for part, count in found.get("split", {}).items():
        yield part, f"{count:,}"
    for field, count in found["items_with"].items():
        share = count / found["items"] if found["items"] else 0.0
        yield f"items with {field.replace('_', ' ')}", f"{count:,} ({share:.1%})"


def _lines(kind: dict[str, Any]) -> str:
    generations = ", ".join(sorted(kind["generations"])) or "unknown"
    repeated = f", {kind['duplicates']:,} repeated" if kind["duplicates"] else ""
    files = "1 file" if kind["files"] == 1 else f"{kind['files']:,} files"
    return f"{generations}: {kind['lines']:,} lines of {files}{repeated}"


def _day(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d}"


def _ratings(console: Console, ratings: dict[str, int]) -> None:
    table = folding_table("rating", "interactions", "", box=None)
    table.columns[1].justify = "right"
    most = max(ratings.values())
    for stars, count in sorted(ratings.items(), key=lambda row: float(row[0])):
        table.add_row(stars, f"{count:,}", "[cyan]" + "█" * round(BAR * count / most) + "[/]")
    console.print(table)


def _cores(console: Console, found: dict[str, Any]) -> None:
    table = folding_table("k-core", "users", "items", "interactions", "share", box=None)
    for column in table.columns:
        column.justify = "right"
    everything = found["before_k_core"]
    for core in [{"k": 0, **everything}, *found["cores"]]:
        counts = [core[name] for name in ("users", "items", "interactions")]
        share = f"{counts[-1] / everything['interactions']:.1%}"
        table.add_row(str(core["k"] or "all"), *(f"{count:,}" for count in counts), share)
    console.print(table)


def items(console: Console, rows: list[dict[str, Any]], title: str) -> None:
    """Ranked items with titles."""
    table = folding_table("rank", "asin", "score", "title", title=escape(title))
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
    return dict(_rows(items_file, columns.ASIN, columns.TITLE))


def runs(console: Console, summaries: list[dict[str, Any]]) -> None:
    """One line per run."""
    table = folding_table(box=None)
    for name in ("run", "data", "model", "seed", "ran", "seconds", "recall@20", "ndcg@20"):
        table.add_column(name, overflow="fold")
    for summary in summaries:
        test = summary["metrics"].get("test", {})
        ran = sum(stage["state"] == "ran" for stage in summary["stages"])
        numbers = [f"{test[name]:.4f}" if name in test else "" for name in ("recall@20", "ndcg@20")]
        table.add_row(
            summary["run"],
            summary["name"],
            summary["model"],
            str(summary["seed"]),
            f"{ran} of {len(summary['stages'])}",
            f"{summary['seconds']:.1f}",
            *numbers,
        )
    console.print(table)


def promotions(console: Console, found: Promotions) -> None:
    """Which run is served, and the history, oldest first."""
    if not found.history:
        console.print("nothing was promoted yet: the latest run is served")
        return
    console.print(f"served: run {found.served[-1]}", highlight=False)
    table = folding_table("when (UTC)", "what", "run", "why", box=None)
    for past in found.history:
        table.add_row(past.time, past.action, past.run, escape(past.reason))
    console.print(table)


def one_run(console: Console, run: Run, store: ArtifactStore) -> None:
    """What a run started from, made and ran on."""
    console.print(
        f"run {run.name}: {run.config['name']}, {run.config['model']['name']}", highlight=False
    )
    for name, entry in run.fingerprint.items():
        _outside(console, name, entry["files"])
    table = folding_table("stage", "key", "artifact", "made by run", "seconds", "size")
    for name, record in run.stages.items():
        table.add_row(
            name,
            record.key[:12],
            record.artifact.digest[:12],
            record.run,
            f"{record.seconds:.1f}",
            size(record.artifact.bytes),
        )
    console.print(table)
    if run.metrics(store):
        _metrics(console, store.path(run.artifact("evaluate"), METRICS), run.config["note"])
    console.print(escape(f"machine: {_machine(run.machine)}"), highlight=False, soft_wrap=True)


def _machine(machine: dict[str, Any]) -> str:
    """What `brmrs.store.runs.this_machine` found, in one line."""
    return (
        f"{machine['platform']}, Python {machine['python']}, {machine['cpus']} CPUs; the process "
        f"held {size(machine['peak_memory_bytes'])} at most"
    )


def difference(console: Console, found: dict[str, dict[str, list[Any]]]) -> None:
    """One line per difference."""
    for kind, names in found.items():
        for name, (old, new) in names.items():
            console.print(escape(f"{kind} {name}: {_brief(old)} -> {_brief(new)}"), soft_wrap=True)
    if not any(found.values()):
        console.print("no difference")


def origin(console: Console, steps: list[dict[str, Any]]) -> None:
    """From an artifact back to the files from outside."""
    for step in steps:
        if "digest" in step:
            line = f"{step['name']} {step['digest'][:12]} <- {', '.join(step['reads'])}"
            console.print(escape(line), highlight=False, soft_wrap=True)
        _outside(console, step["name"], step.get("files", []))


def _outside(console: Console, name: str, files: list[dict[str, Any]]) -> None:
    """Files from outside; many of them are only counted."""
    if len(files) > FILES_SHOWN:
        total = size(sum(file["bytes"] for file in files))
        console.print(f"{name}: {len(files):,} files, {total}; --json lists them", highlight=False)
        return
    for file in files:
        line = f"{name}: {file['name']}, {size(file['bytes'])}, sha256 {file['sha256']}"
        console.print(escape(line), highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print JSON and nothing else, for scripts."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def _brief(value: object) -> str:
    """A digest in few letters, a metric in four digits, anything else as it is."""
    if isinstance(value, str) and len(value) == 64:
        return value[:12]
    return f"{value:.4f}" if isinstance(value, float) and 0 < value < 1 else str(value)


def _metrics(console: Console, path: Path, note: str) -> None:
    """Test metrics of the model beside the yardstick."""
    metrics = read_json(path)
    test = columns.SPLIT_NAMES[columns.TEST]
    rows = {metrics["model"]: metrics[test]}
    rows |= {name: values[test] for name, values in metrics["baseline"].items()}
    names = sorted(metrics[test], key=columns.by_metric)
    cut_offs = sorted({int(name.partition("@")[2]) for name in names})
    users = metrics["users"][test]
    table = folding_table("", title=f"test metrics, all-ranking, {users:,} users")
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
    rows = _rows(
        folders["publish"] / "recommendations.parquet",
        columns.USER_ID,
        columns.RANK,
        columns.ASIN,
    )
    table = folding_table("user", "recommended", title="recommendations")
    shown: dict[str, list[str]] = {}
    for user, rank, asin in rows:
        if user not in shown and len(shown) == USERS_SHOWN:
            break
        if rank <= ITEMS_SHOWN:
            shown.setdefault(user, []).append(f"{rank}. {names[asin] or asin}")
    for user, lines in shown.items():
        table.add_row(escape(user), escape("\n".join(lines)))
    console.print(table)


def _rows(path: Path, *names: str) -> Iterator[tuple[Any, ...]]:
    """Rows of a table, read as they are asked for."""
    for batch in pq.ParquetFile(path).iter_batches(columns=list(names)):
        yield from zip(*(batch[name].to_pylist() for name in names), strict=True)


def _styled(state: str) -> str:
    return f"[{STATE_STYLE[state]}]{state}[/]"


def size(count: int) -> str:
    """Bytes for a reader: "317 kB"."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
