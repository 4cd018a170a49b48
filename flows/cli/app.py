"""The `brmrs` command. It may import everything; nothing imports it."""

import io
import json
import logging
import os
import shlex
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from brmrs.errors import StageError, UserError, missing_package, os_fault
from brmrs.suggest import instead
from flows.cli import compare as cli_benchmark
from flows.cli import config as cli_config
from flows.cli import diagnose as cli_diagnose
from flows.cli import export as cli_export
from flows.cli import propose as cli_propose
from flows.cli import recommend as cli_recommend
from flows.cli import report as cli_report
from flows.cli import retrain as cli_retrain
from flows.cli import service as cli_service
from flows.cli import store as cli_store
from flows.cli.console import console, line
from flows.cli.options import (
    STORE,
    Artifacts,
    AsJson,
    ConfigFiles,
    Overrides,
    Plugins,
    with_plugins,
)
from flows.cli.tables import print_json

# Prefect, torch and the stages are imported inside the commands that need them: `brmrs plan`
# answers in a second.

app = typer.Typer(
    help="From a raw Amazon review dump to a trained, evaluated and served recommender.",
    epilog="Exit codes: 0: success; 1: internal error; 2: user error, one line; 130: interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out = console()
err = console(stderr=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        line(out, f"brmrs {version('brmrs')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show debug messages, Prefect's log and errors' tracebacks."
        ),
    ] = False,
) -> None:
    """Options of all commands."""
    del version
    if verbose:
        logging.getLogger("brmrs").setLevel(logging.DEBUG)
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"


Until = Annotated[str | None, typer.Option(help="Last stage to run.")]


class Generation(StrEnum):
    """Generation of the public data sets."""

    of_2014 = "2014"
    of_2018 = "2018"
    of_2023 = "2023"


@app.command()
def run(
    config: ConfigFiles,
    overrides: Overrides = [],  # noqa: B006 - Typer reads the default, nothing changes it
    plugins: Plugins = [],  # noqa: B006
    until: Until = None,
    refresh: Annotated[
        list[str], typer.Option(metavar="STAGE", help="Run this stage even if cached; repeatable.")
    ] = [],  # noqa: B006
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write stages and metrics here (- prints them).")
    ] = None,
    artifacts: Artifacts = STORE,
) -> None:
    """Run every stage that is not cached."""
    from brmrs.config.load import load
    from brmrs.stages import externals, needed, refuse_unread
    from brmrs.store.fingerprint import fingerprint
    from brmrs.store.modalities import check_modalities
    from flows.cli import run_locally
    from flows.cli import tables as show

    overrides = with_plugins(overrides, plugins)
    settings = load(config[0], tuple(overrides), tuple(config[1:]))
    stages = needed(settings, until)
    refuse_unread(refresh, stages, settings)
    _refuse_unwritable(json_file, artifacts)
    fingerprint(settings, externals(stages))  # reports a wrong path before Prefect starts
    check_modalities(settings, stages)
    summary = run_locally.run(settings, artifacts, until, tuple(refresh), overrides, err)
    to_stdout = json_file is not None and str(json_file) == "-"
    if json_file is not None:
        text = json.dumps(summary, indent=1) + "\n"
        sys.stdout.write(text) if to_stdout else json_file.write_text(text, encoding="utf-8")
    if not to_stdout:
        show.run(out, summary)
        _next_step(summary, artifacts)


@app.command()
def plan(
    config: ConfigFiles,
    overrides: Overrides = [],  # noqa: B006
    plugins: Plugins = [],  # noqa: B006
    until: Until = None,
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Show which stages would run, and why."""
    from brmrs.config.load import load
    from brmrs.stages import BY_NAME, externals, needed
    from brmrs.store.artifacts import ArtifactStore
    from brmrs.store.fingerprint import fingerprint
    from brmrs.store.modalities import check_modalities
    from brmrs.store.plan import plan as make_plan
    from flows.cli import tables as show

    overrides = with_plugins(overrides, plugins)
    settings = load(config[0], tuple(overrides), tuple(config[1:]))
    stages = needed(settings, until)
    check_modalities(settings, stages)
    prints = fingerprint(settings, externals(stages))
    steps = make_plan(stages, settings, prints, ArtifactStore(artifacts))
    if as_json:
        rows = [
            {"name": step.stage, "state": step.state, "reasons": step.reasons} for step in steps
        ]
        print_json(rows)
    else:
        show.plan(out, steps)
        run = {stage.name for stage in needed(settings)}
        if left_out := [name for name in BY_NAME if name not in run]:
            line(
                out,
                f"left out, as model {settings.model.name} does not read them: "
                f"{', '.join(left_out)}",
            )


@app.command()
def models(plugins: Plugins = [], as_json: AsJson = False) -> None:  # noqa: B006
    """List the recommenders: paper, and what each needs."""
    from brmrs.models.registry import catalogue
    from flows.cli import tables as show

    rows = catalogue(plugins)
    if as_json:
        print_json(rows)
    else:
        show.models(out, rows)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Folder to write to, such as data/sample.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same bytes.")] = 0,
    users: Annotated[int, typer.Option(min=20, help="Users in the 5-core, about.")] = 1500,
    items: Annotated[int, typer.Option(min=20, help="Items in the 5-core, about.")] = 500,
    text_unique: Annotated[
        float, typer.Option(min=0, help="Strength of the taste for what only the text shows.")
    ] = 1.0,
    visual_unique: Annotated[
        float, typer.Option(min=0, help="Strength of the taste for what only the picture shows.")
    ] = 1.0,
    additive: Annotated[
        float, typer.Option(min=0, help="Strength of a score by the text plus one by the picture.")
    ] = 1.0,
    synergy: Annotated[
        float,
        typer.Option(min=0, help="Strength of the taste for an exclusive-or of text and picture."),
    ] = 1.0,
    redundant: Annotated[
        float, typer.Option(min=0, help="Strength of the taste for what both show.")
    ] = 1.0,
) -> None:
    """Write a sample dump: synthetic reviews, metadata and pictures with known preferences."""
    from brmrs.sample.latent import Strengths
    from brmrs.sample.write import write_sample

    strengths = Strengths(text_unique, visual_unique, additive, synergy, redundant)
    write_sample(folder, seed, users, items, strengths)
    line(out, f"sample dump in {folder}")


@app.command()
def inspect(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Reviews, metadata, folders of them, or a ready-made data set."),
    ],
    plugins: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Show what a dump holds: sizes, times, ratings, texts and pictures, k-cores, bad lines."""
    from brmrs.propose.inspect import inspect as look
    from brmrs.system import progress
    from flows.cli import tables_inspect as show

    with progress.shown(err):
        facts = look(paths, plugins)
    if as_json:
        print_json(facts)
    else:
        show.facts(out, facts)


@app.command()
def download(
    category: Annotated[str, typer.Argument(help="Such as Baby, Gift_Cards, Baby_Products.")],
    generation: Annotated[Generation, typer.Option(help="Generation of the data set.")],
    to: Annotated[Path, typer.Option(help="Folder to download to.")],
) -> None:
    """Download a category's reviews and metadata from the data sets' official addresses.

    After an interruption, run it again to resume.
    """
    from brmrs.ingest.amazon.download import download as fetch
    from brmrs.system import progress

    with progress.shown(err):
        paths = fetch(category, generation.value, to)
    for path in paths:
        line(out, str(path))


@app.command()
def doctor(
    config: Annotated[
        list[Path],
        typer.Option("--config", "-c", help="Also check what a run of this file needs."),
    ] = [],  # noqa: B006
    overrides: Overrides = [],  # noqa: B006
    plugins: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Check packages, text model, accelerator, disk and Prefect; with -c, what a run needs."""
    from brmrs.config.load import load
    from flows.cli import tables as show
    from flows.cli.doctor import check

    settings = None
    if config:
        overrides = with_plugins(overrides, plugins)
        settings = load(config[0], tuple(overrides), tuple(config[1:]))
    checks = check(artifacts, settings)
    if as_json:
        print_json([vars(each) for each in checks])
    else:
        show.doctor(out, checks)
    if not all(each.ok for each in checks):
        raise typer.Exit(2)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Prefect server.", min=1, max=65535)] = 4200,
) -> None:
    """Run a Prefect server, a worker and a watcher for new dumps. Ctrl-C stops them."""
    from flows.server.up import up as keep_up

    keep_up(port, out)


def _next_step(summary: dict[str, Any], artifacts: Path) -> None:
    """What the finished run can be used for: which run the commands that recommend take."""
    from brmrs.serving.current import read
    from brmrs.store.artifacts import ArtifactStore

    if "publish" not in {stage["name"] for stage in summary["stages"]}:
        return
    where = "" if artifacts == STORE else f" --artifacts {shlex.quote(str(artifacts))}"
    served = read(ArtifactStore(artifacts)).served.get(summary["name"], ())
    if served:
        text = f"served: run {served[-1]}, until brmrs promote latest{where}"
    else:
        text = "serve and recommend take the newest run until one is promoted (brmrs promote RUN)"
    line(out, f"next: brmrs serve{where}; {text}")


def _refuse_unwritable(json_file: Path | None, artifacts: Path) -> None:
    """Refuse output paths that cannot be written, before the work starts."""
    if json_file is not None and str(json_file) != "-" and not json_file.parent.is_dir():
        advice = instead(json_file.parent, "create it or name another")
        raise UserError(f"--json {json_file}: no folder {json_file.parent}; {advice}")
    try:
        artifacts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--artifacts {artifacts}: {error.strerror}; choose another") from error
    if not os.access(artifacts, os.W_OK):
        raise UserError(f"--artifacts {artifacts}: it cannot be written; choose another")


app.add_typer(cli_store.app)
app.add_typer(cli_benchmark.app)
app.add_typer(cli_diagnose.app)
app.add_typer(cli_config.app)
app.add_typer(cli_recommend.app)
app.add_typer(cli_report.app)
app.add_typer(cli_export.app)
app.add_typer(cli_propose.app)
app.add_typer(cli_retrain.app)
app.add_typer(cli_service.app)


def main() -> None:
    """Entry point. An error is one line; exit code 2 for user errors, 1 for internal ones."""
    _show_any_text()
    try:
        _refuse_removed_folder()
        app()
    except UserError as error:
        _end(error, 2)
    except StageError as error:
        _end(error, 1)
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        _end(missing, 2)
    except Exception as error:
        refused = os_fault(error)
        if refused is None:
            raise
        _end(refused, 2)


def _show_any_text() -> None:
    """Show a question mark for a character that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _refuse_removed_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the current folder was removed; change to another one") from error


def _end(error: Exception, code: int) -> NoReturn:
    if logging.getLogger("brmrs").isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    line(err, ("error:", "bold red"), f" {error}")
    sys.exit(code)


if __name__ == "__main__":
    main()
