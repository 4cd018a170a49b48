"""The report of a run: the page of the stage `report`, completed by what is true of this run only.

Two runs with the same inputs have the same page in the store. Added are the run's name and the run
that rendered the page, the comparison with the previous run, and the stages with their origins. The
file is `reports/<run>.html` in the store.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from brmrs.errors import UserError, first_line
from brmrs.report.numbers import Table, interval, number, sentence
from brmrs.report.page import fragment
from brmrs.report.previous import Previous, against_previous
from brmrs.stages import BY_NAME
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import MOMENT, Run, reached
from brmrs.system import untrusted
from brmrs.system.files import replacing

# Comments of the stage's page that are replaced. Texts of the data cannot contain them: their < is
# escaped.
HEADING, PREVIOUS, RUN = (f"<!-- brmrs: {name} -->" for name in ("heading", "previous run", "run"))
MOST_BYTES = 16 * 2**20  # of the stage's page
LETTERS = 12  # of a digest
MOST_FILES = 3  # of an input
PAGE = "report/report.html"


def write(
    run: Run, store: ArtifactStore, to: Path | None = None, previous: Previous | None = None
) -> Path:
    """Write the report of a run, and return its path.

    Args:
        run: that reached the stage report.
        store: with its artifacts.
        to: the file to write; None: the one in the store.
        previous: the comparison with the previous run, where it is already made.

    Raises:
        UserError: the run did not reach the stage report, or its page is missing or of another
            version of brmrs.
    """
    page = _page(run, store)
    for marker, html in (
        (HEADING, _heading(run)),
        (PREVIOUS, _previous(previous or against_previous(run, store))),
        (RUN, _lineage(run)),
    ):
        page = page.replace(marker, html)
    path = to or run.report(store)
    if to is None:
        path.parent.mkdir(exist_ok=True)
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _page(run: Run, store: ArtifactStore) -> str:
    found = reached(run, store, "report", command="brmrs report")
    path = store.path(found.artifact("report"), PAGE)
    try:
        page = untrusted.read_bytes(path, MOST_BYTES).decode()
    except (FileNotFoundError, ValueError) as error:
        raise UserError(
            f"{path}: no report ({first_line(error)}); run the pipeline again"
        ) from error
    if not all(page.count(marker) == 1 for marker in (HEADING, PREVIOUS, RUN)):
        raise UserError(
            f"{path}: the report is of another version of brmrs; run the pipeline again"
        )
    return page


def _heading(run: Run) -> Markup:
    made = run.stages["report"].run
    return fragment(
        "run_page.heading",
        run=run.name,
        started=_started(run.name),
        seconds=number("run.seconds", run.seconds, "seconds"),
        made=made,
        cached=made != run.name,
    )


def _started(name: str) -> str:
    """The time in a run's name; empty if it has none."""
    try:
        moment = datetime.strptime(name.rpartition("-")[0], MOMENT).replace(tzinfo=UTC)
    except ValueError:
        return ""
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _previous(found: Previous) -> Markup:
    return fragment(
        "run_page.previous",
        found=found,
        table=against(found.compared, "previous") if found.compared else None,
    )


def against(compared: dict[str, Any], name: str) -> Table:
    """The second run of a comparison minus the first, one row per metric.

    Args:
        compared: from `compare_runs`.
        name: first part of the keys.
    """
    first, second = compared["rows"]
    rows = []
    for metric in compared["metrics"]:
        each, key = second["against_first"][metric], f"{name}.{metric}"
        rows.append(
            [
                metric,
                number(f"{key}.first", first["values"][metric]),
                number(f"{key}.second", second["values"][metric]),
                number(f"{key}.difference", each["difference"], "signed"),
                interval(key, each["low"], each["high"], "signed"),
                number(f"{key}.p_holm", each["p_holm"], "p"),
            ]
        )
    head = ["test", "previous run", "this run", "difference", "95 % interval", "p (Holm)"]
    return Table(head, rows)


def _lineage(run: Run) -> Markup:
    rows = []
    for name, record in run.stages.items():
        ran = record.run == run.name
        artifact = record.artifact
        rows.append(
            [
                name,
                "ran" if ran else "cached",
                sentence('<span class="id">{}</span>', record.run),
                number(f"stage.{name}.seconds", record.seconds, "seconds"),
                number(f"stage.{name}.bytes", artifact.bytes / 1000, "count"),
                sentence('<span class="id">{}</span>', artifact.digest[:LETTERS]),
            ]
        )
    head = ["stage", "state", "made by run", "time", "kB", "artifact"]
    return fragment(
        "run_page.lineage",
        table=Table(head, rows),
        files=_files(run),
        machine=", ".join(
            f"{name} {value}"
            for name, value in run.machine.items()
            if name in {"cpus", "platform", "python"}
        ),
        missing=[name for name in BY_NAME if name not in run.stages],
    )


def _files(run: Run) -> Table:
    """The input files; of an entry with many, the first and their number."""
    rows: list[list[Any]] = []
    for entry, digests in run.fingerprint.items():
        files = digests["files"]
        for file in files[:MOST_FILES]:
            digest = sentence('<span class="id">{}</span>', file["sha256"][:LETTERS])
            size = number(f"file.{entry}.{file['name']}", file["bytes"] / 1000, "count")
            rows.append([entry, file["name"], digest, size])
        if rest := files[MOST_FILES:]:
            size = number(f"files.{entry}", sum(file["bytes"] for file in rest) / 1000, "count")
            rows.append([entry, f"and {len(rest)} more", "", size])
    return Table(["input", "file", "SHA-256", "kB"], rows)
