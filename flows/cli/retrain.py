"""The commands about the served model: retrain, current, rollback."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import console, line
from flows.cli.options import STORE, Artifacts, AsJson, ConfigFile, Overrides, Plugins, with_plugins
from flows.cli.tables import print_json

app = typer.Typer()
out = console()
err = console(stderr=True)


@app.command()
def retrain(
    config: ConfigFile,
    path: Annotated[
        Path | None, typer.Argument(help="New file to wait for; else complete files are used.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006 - Typer reads the default, nothing changes it
    plugins: Plugins = [],  # noqa: B006
    force: Annotated[bool, typer.Option(help="Train even if the dumps are unchanged.")] = False,
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Train on new dumps, if there are any, and promote the model if it passes the comparison."""
    from brmrs.config.load import load
    from flows.cli import run_locally

    overrides = with_plugins(overrides, plugins)
    load(config, tuple(overrides))  # reports a wrong configuration before Prefect starts
    parameters = {
        "config": config,
        "path": str(path or ""),
        "overrides": tuple(overrides),
        "force": force,
        "artifacts": artifacts,
    }
    outcome = run_locally.retrain(parameters, err)
    if as_json:
        print_json(outcome)
    else:
        run = f", run {outcome['run']}" if outcome["run"] else ""
        line(out, f"{outcome['state']}{run}: {outcome['reason']}")
