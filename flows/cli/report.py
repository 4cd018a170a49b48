"""The command `brmrs report`."""

from pathlib import Path
from typing import Annotated

import typer

from brmrs.errors import UserError
from brmrs.store.artifacts import ArtifactStore
from flows.cli.chosen import chosen
from flows.cli.console import console, line
from flows.cli.options import STORE, Artifacts

LISTS = 5  # users whose lists are shown
app = typer.Typer()
out = console()


@app.command()
def report(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Its name, the end of it, or latest, served.")
    ] = "latest",
    compare: Annotated[
        list[str],
        typer.Option(metavar="RUN", help="Show this run beside the first; repeatable."),
    ] = [],  # noqa: B006 - Typer reads the default, nothing changes it
    users: Annotated[
        int | None,
        typer.Option(min=0, help="With --compare: users whose lists are shown; 5 if not given."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Write the page here instead of into the store.")
    ] = None,
    artifacts: Artifacts = STORE,
) -> None:
    """Write the report of a finished run, or of several side by side, and print its path."""
    if users is not None and not compare:
        raise UserError("--users has an effect with --compare only; not for the page of one run")
    store = ArtifactStore(artifacts)
    if compare:
        from brmrs.report.of_run import REQUIRED
        from brmrs.report.side_by_side import write as write_all

        runs = [chosen(store, name, *REQUIRED) for name in (run, *compare)]
        path = write_all(runs, store, LISTS if users is None else users, to)
    else:
        from brmrs.report.run_page import write

        path = write(chosen(store, run, "report"), store, to)
    line(out, str(path))
