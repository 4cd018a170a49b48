"""The command `brmrs serve`."""

from pathlib import Path
from typing import Annotated

import typer

from brmrs.errors import UserError
from flows.cli.console import console, line
from flows.cli.options import STORE, Artifacts

app = typer.Typer()
out = console()


@app.command()
def serve(
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="Serve this run, whichever is promoted."),
    ] = None,
    current: Annotated[
        bool,
        typer.Option("--current", help="Serve the promoted run, also when it changes (default)."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="NAME", help="The data set, where the store has several."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8000,
    allow_host: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Name under which the service is called; repeatable."),
    ] = [],  # noqa: B006 - Typer reads the default, nothing changes it
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that every caller has to send.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
    artifacts: Artifacts = STORE,
) -> None:
    """Answer over HTTP: recommendations, similar items, explanations, and the page."""
    if run is not None and current:
        raise UserError("--run and --current: choose one")
    from brmrs.service import process

    options = process.Options(
        artifacts, run, data, host, port, tuple(allow_host), token_file, workers
    )
    process.run(options, lambda text: line(out, text))
