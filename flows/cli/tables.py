"""Printed tables of runs, plans, models and recommendations."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from brmrs import columns
from brmrs.config.learning import LEAST_RECALL
from brmrs.serving.current import Promotions
from brmrs.stages import ITEMS
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.plan import Step
from brmrs.store.runs import EVALUATION, Evaluation, Run, read_evaluation
from brmrs.store.tables import rows
from flows.cli.console import fitting_table, folding_table, line

USERS_SHOWN = 5
ITEMS_SHOWN = 3
FILES_SHOWN = 4
DIGEST = 12  # characters of a digest; --json has all
REASONS_SHOWN = 3  # of one kind
HEADLINES = ("recall@20", "ndcg@20")
STATE_STYLE = {
    "ran": "yellow",
    "cached": "green",
    "shared": "green",
    "runs": "yellow",
    "waits": "cyan",
}


def run(console: Console, summary: dict[str, Any]) -> None:
    """The end of a run: stages, metrics, a few recommendations, the report."""
    rows = [
        [
            stage["name"],
            _styled(stage["state"]),
            f"{stage['seconds']:.1f}",
            size(stage["bytes"]),
            stage["digest"][:DIGEST],
        ]
        for stage in summary["stages"]
    ]
    names = ("stage", "state", "seconds", "size", "artifact")
    title = f"run {summary['run']}"
    fitting_table(console, names, rows, numbers=("seconds", "size"), title=title)
    line(console, f"{summary['seconds']:.1f} s in all")
    _neighbours(console, summary["recall_of_exact"])
    folders = {stage["name"]: Path(stage["path"]) for stage in summary["stages"]}
    if "evaluate" in folders:
        _metrics(console, read_evaluation(_file(folders, EVALUATION)), summary["note"])
    if "publish" in folders:
        _recommendations(console, folders)
    if summary["report"]:
        line(console, f"report: {summary['report']}")


def plan(console: Console, steps: list[Step]) -> None:
    """One line per stage; many reasons of one kind are counted, `--json` lists them."""
    table = folding_table("stage", "state", "why", box=None)
    for step in steps:
        table.add_row(step.stage, _styled(step.state), "; ".join(_folded(step.reasons)))
    console.print(table)


def _folded(reasons: tuple[str, ...]) -> Iterator[str]:
    """Reasons in their order; for each kind (code, libraries, ...) the first few and a count."""
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        kinds.setdefault(reason.partition(" ")[0], []).append(reason)
    for kind, found in kinds.items():
        yield from found[:REASONS_SHOWN]
        if len(found) > REASONS_SHOWN:
            yield f"and {len(found) - REASONS_SHOWN} more of {kind}"


def models(console: Console, rows: list[dict[str, Any]]) -> None:
    """One line per recommender."""
    table = folding_table("model", "what it is", "needs", box=None)
    for row in rows:
        needs = ", ".join(row["needs"]) or "interactions"
        name = f"{row['name']} *" if row["objective"] else row["name"]
        table.add_row(name, row["paper"], needs)
    console.print(table)
    line(console, "* takes model.objective: BR-MRS's terms beside its own")
    line(console, "to choose one: --set model=NAME; most have a file: -c configs/models/NAME.yaml")
    if without := [row["name"] for row in rows if not row["configuration"]]:
        line(console, f"without a file: {', '.join(without)}")


def items(console: Console, rows: list[dict[str, Any]], title: str) -> None:
    """Ranked items with titles."""
    table = folding_table("rank", "item", "score", "title", title=title)
    for row in rows:
        table.add_row(str(row["rank"]), row["asin"], f"{row['score']:.4f}", row["title"])
    console.print(table)


def doctor(console: Console, checks: list[Any]) -> None:
    """One line per check."""
    for check in checks:
        mark = ("ok  ", "green") if check.ok else ("fail", "red")
        line(console, mark, f" {check.name}: {check.finding}")


def item_names(items_file: Path) -> dict[str, str]:
    """ASIN to name (`columns.item_name`), of an items table."""
    named = (columns.ASIN, columns.TITLE, columns.BRAND, columns.CATEGORIES)
    return {row[0]: columns.item_name(*row) for row in rows(items_file, columns.ITEMS, *named)}


def runs(console: Console, summaries: list[dict[str, Any]]) -> None:
    """One line per run, and what failed."""
    rows = []
    for summary in summaries:
        test = summary["metrics"].get("test", {})
        ran = sum(stage["state"] == "ran" for stage in summary["stages"])
        rows.append(
            [
                summary["run"],
                f"{summary['kind']}, failed" if summary["failed"] else summary["kind"],
                summary["name"],
                summary["model"],
                str(summary["seed"]),
                f"{ran}/{len(summary['stages'])}",
                f"{summary['seconds']:.1f}",
                *(f"{test[name]:.4f}" if name in test else "" for name in HEADLINES),
            ]
        )
    names = ("run", "command", "data", "model", "seed", "ran", "seconds", *HEADLINES)
    numbers = ("seed", "ran", "seconds", *HEADLINES)
    optional = (HEADLINES[1], "seconds", "ran", "seed")
    constant = ("data", "seed")
    fitting_table(
        console, names, rows, numbers=numbers, constant=constant, runs=["run"], optional=optional
    )
    for summary in summaries:
        if summary["failed"]:
            line(console, f"{summary['run']} failed: {summary['failed']}")


def promotions(console: Console, found: Promotions) -> None:
    """The served run of each data set, and the history, oldest first."""
    if not found.history:
        line(console, "nothing was promoted yet: the latest run of a data set answers")
        return
    for data, served in sorted(found.served.items()):
        line(console, f"served: run {served[-1]} for {data}")
    table = folding_table("when (UTC)", "what", "run", "why", box=None)
    for past in found.history:
        why = f"{past.state}: {past.reason}" if past.state else past.reason
        table.add_row(past.time, past.action, past.run, why)
    console.print(table)


def one_run(console: Console, run: Run, store: ArtifactStore) -> None:
    """The inputs, stages, artifacts and machine of a run."""
    model = run.config["model"]["name"]
    line(console, f"run {run.name} ({run.kind}): {run.config['name']}, {model}")
    if run.failed:
        line(console, ("failed: ", "red"), run.failed)
    for name, entry in run.fingerprint.items():
        _input_files(console, name, entry["files"])
    rows = [
        [
            name,
            record.key[:DIGEST],
            record.artifact.digest[:DIGEST],
            record.run,
            f"{record.seconds:.1f}",
            size(record.artifact.bytes),
        ]
        for name, record in run.stages.items()
    ]
    names = ("stage", "key", "artifact", "made by run", "seconds", "size")
    made_by = ["made by run"]
    fitting_table(
        console,
        names,
        rows,
        numbers=("seconds", "size"),
        constant=made_by,
        runs=made_by,
        optional=("key", "size", "seconds"),
    )
    _neighbours(console, run.recall_of_exact(store))
    _metrics(console, run.evaluation(store), run.config["note"])
    line(console, f"machine: {_machine(run.machine)}")


def _neighbours(console: Console, recalls: dict[str, float]) -> None:
    """The measured recall of approximate graphs, with a warning if it is low."""
    if not recalls:
        return
    shown = ", ".join(f"{name} {share:.1%}" for name, share in recalls.items())
    line(console, f"approximate graphs; share of the exact neighbours found: {shown}")
    low = [name for name, share in recalls.items() if share < LEAST_RECALL]
    if low:
        line(
            console,
            ("warning: ", "yellow"),
            f"less than {LEAST_RECALL:.0%} of the exact neighbours in graph {', '.join(low)}; "
            "graphs.neighbours=exact finds all",
        )


def _machine(machine: dict[str, Any]) -> str:
    """The result of `brmrs.store.runs.this_machine` in one line."""
    peak = machine.get("peak_memory_bytes")
    held = f"; the process held {size(peak)} at most" if isinstance(peak, int) else ""
    names = ("platform", "python", "cpus")
    platform, python, cpus = (machine.get(name, "unknown") for name in names)
    return f"{platform}, Python {python}, {cpus} CPUs{held}"


def difference(
    console: Console,
    found: dict[str, dict[str, list[Any]]],
    intervals: dict[str, dict[str, float]],
) -> None:
    """One line per difference; of a metric with its sign and, where known, its interval."""
    for kind, names in found.items():
        for name in sorted(names, key=_natural):
            old, new = names[name]
            change = _change(old, new, intervals.get(name)) if kind == "metrics" else ""
            line(console, f"{kind} {name}: {_brief(old)} -> {_brief(new)}{change}")
    if not any(found.values()):
        line(console, "no difference")


def _change(old: object, new: object, interval: dict[str, float] | None) -> str:
    if not isinstance(old, float) or not isinstance(new, float):
        return ""
    if interval is None:
        return f" ({new - old:+.4f})"
    low, high = interval["low"], interval["high"]
    users = f"{interval['users']:,.0f}"
    return f" ({new - old:+.4f}, 95 % interval {low:+.4f} to {high:+.4f} over {users} users)"


def _natural(name: str) -> list[tuple[int, str]]:
    """recall@5 before recall@10."""
    parts = re.split(r"([0-9]+)", name)
    return [(len(part), part) if part.isdecimal() else (0, part) for part in parts]


def origin(console: Console, steps: list[dict[str, Any]]) -> None:
    """From an artifact back to the input files."""
    for step in steps:
        if "digest" in step:
            line(console, f"{step['name']} {step['digest'][:DIGEST]} <- {', '.join(step['reads'])}")
        _input_files(console, step["name"], step.get("files", []))


def _input_files(console: Console, name: str, files: list[dict[str, Any]]) -> None:
    """Input files; many of them are only counted."""
    if len(files) > FILES_SHOWN:
        total = size(sum(file["bytes"] for file in files))
        line(console, f"{name}: {len(files):,} files, {total}; --json lists them")
        return
    for file in files:
        bytes_ = size(file["bytes"])
        line(console, f"{name}: {file['name']}, {bytes_}, sha256 {file['sha256'][:DIGEST]}…")


def print_json(value: Any) -> None:
    """Print JSON and nothing else, for scripts; all but ASCII is escaped."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def _brief(value: object) -> str:
    """A short digest, a metric with four digits, any other value unchanged."""
    if isinstance(value, str) and len(value) == 64:
        return value[:DIGEST]
    return f"{value:.4f}" if isinstance(value, float) and 0 < value < 1 else str(value)


def _metrics(console: Console, found: Evaluation | None, note: str) -> None:
    """Test metrics of the model and the baselines."""
    if found is None:
        return
    rows = {found["model"]: found["test"]}
    rows |= {name: values.get("test", {}) for name, values in found["baseline"].items()}
    cut_offs = sorted({int(name.partition("@")[2]) for name in found["test"]})
    users = found["users"].get("test", 0)
    headers = [f"{model if k == cut_offs[0] else ''}\n@{k}" for model in rows for k in cut_offs]
    cells = [
        [
            metric,
            *(
                f"{values[name]:.4f}" if name in values else ""
                for values in rows.values()
                for name in (columns.metric(metric, k) for k in cut_offs)
            ),
        ]
        for metric in columns.metric_kinds(found["test"])
    ]
    how = found.get("ranking", "all-ranking")
    table = folding_table("", *headers, title=f"test metrics, {how}, {users:,} users")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in cells:
        table.add_row(*row)
    console.print(table)
    labels = [
        f"{name}: {feature['label']}, {feature['present']:,} of {feature['items']:,} items"
        for name, feature in found["features"].items()
    ]
    line(console, "; ".join([*labels, note] if note else labels))


def _recommendations(console: Console, folders: dict[str, Path]) -> None:
    names = item_names(_file(folders, ITEMS))
    file = folders["publish"] / "recommendations.parquet"
    wanted = (columns.USER_ID, columns.RANK, columns.ASIN)
    table = folding_table("user", "recommended", title="recommendations")
    shown: dict[str, list[str]] = {}
    for user, rank, asin in rows(file, columns.RECOMMENDATIONS, *wanted):
        if user not in shown and len(shown) == USERS_SHOWN:
            break
        if rank <= ITEMS_SHOWN:
            shown.setdefault(user, []).append(f"{rank}. {names.get(asin, asin)}")
    for user, lines in shown.items():
        table.add_row(user, "\n".join(lines))
    console.print(table)


def _file(folders: dict[str, Path], read: str) -> Path:
    """The file of a declared input ("ingest/items.parquet")."""
    stage, _, name = read.partition("/")
    return folders[stage] / name


def _styled(state: str) -> Text:
    return Text(state, STATE_STYLE[state])


def size(count: int) -> str:
    """Bytes in a unit that keeps the number short: "317 kB"."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
