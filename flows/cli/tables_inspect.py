"""The output of `brmrs inspect`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from flows.cli.console import folding_table, line, plain

AMAZON = {"2014", "2018", "2023"}  # of a dump; other files are called by what they hold
TABLES = {"reviews": "interactions in", "metadata": "items in"}
BAR = 40  # characters of the longest


def facts(console: Console, found: dict[str, Any]) -> None:
    """Print the facts that `brmrs inspect` found."""
    overview = folding_table("", "", show_header=False, box=None)
    for row in (*_files(found), *_sizes(found)):
        overview.add_row(*row)
    console.print(overview)
    if found.get("ratings"):
        _ratings(console, found["ratings"])
    if "cores" in found:
        _cores(console, found)
    for note in found.get("notes", []):
        line(console, ("note: ", "yellow"), note)


def _files(found: dict[str, Any]) -> Iterator[tuple[str, str | Text]]:
    for kind in ("reviews", "metadata"):
        if found.get(kind, {}).get("lines"):
            amazon = AMAZON & found[kind]["generations"].keys()
            yield kind if amazon else TABLES[kind], _lines(found[kind])
            for reason, count in sorted(found[kind]["quarantined"].items()):
                yield "", _warning(f"{count:,} unusable: ", reason)
            for field, count in found[kind]["unusable_fields"].items():
                yield "", _warning(f"{count:,} of a wrong type, left out: ", field)
            if count := found[kind].get("times_in_other_unit"):
                yield "", _warning(f"{count:,} dated in s instead of ms, or in ms instead of s")
            if count := found[kind].get("times_before_1995"):
                yield "", _warning(f"{count:,} dated before 1995: are these numbers seconds?")
            yield from _columns(found[kind])


def _columns(kind: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The columns of tables: what each holds, and those that are not read."""
    for listed in columns_of(kind):
        yield "", listed
    if "users_in_tables" in kind:
        without = kind["users_without_interactions"]
        yield "", f"{kind['users_in_tables']:,} users in tables, {without:,} without interactions"


def columns_of(found: dict[str, Any]) -> Iterator[str]:
    """A line for each file: its columns by role, and those that are not read."""
    for file, columns in found.get("columns", {}).items():
        listed = ", ".join(f"{role} = {name}" for role, name in columns.items())
        left = found.get("not_read", {}).get(file, ())
        yield f"{file}: {listed}" + (f"; not read: {', '.join(left)}" if left else "")


def _warning(what: str, which: str = "") -> Text:
    return Text.assemble((what, "yellow"), plain(which))


def _sizes(found: dict[str, Any]) -> Iterator[tuple[str, str | Text]]:
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
    generations = ", ".join(sorted(kind["generations"]))
    repeated = f", {kind['duplicates']:,} repeated" if kind["duplicates"] else ""
    files = "1 file" if kind["files"] == 1 else f"{kind['files']:,} files"
    return f"{generations}{': ' if generations else ''}{kind['lines']:,} lines of {files}{repeated}"


def _day(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d}"


def _ratings(console: Console, ratings: dict[str, int]) -> None:
    table = folding_table("rating", "interactions", "", box=None)
    table.columns[1].justify = "right"
    most = max(ratings.values())
    for stars, count in sorted(ratings.items(), key=lambda row: float(row[0])):
        table.add_row(stars, f"{count:,}", Text("█" * round(BAR * count / most), "cyan"))
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
