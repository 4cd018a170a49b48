"""Run the flow in this process: on the project's server if it answers, else on an embedded one."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.logging import RichHandler

from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.store.runs import Kind
from brmrs.system import progress
from flows.server import embedded, secret
from flows.server.recognise import Who, who_answers
from flows.server.settings import bypass_proxy
from flows.server.settings import read as read_settings

USE_OTHER = "start a Prefect server there, or unset the variable"
ADVICE = {Who.ANOTHER_FOLDER: "set PREFECT_API_AUTH_STRING to its secret, or unset the variable"}
INTERRUPTED = 128 + signal.SIGINT  # exit code, as of shells

# Set before Prefect is imported: the terminal shows brmrs's log, Prefect's page shows Prefect's.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
# A search logs after its flow has ended; Prefect would warn of each such line.
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")


def run(
    config: PipelineConfig,
    artifacts: Path,
    until: str | None,
    refresh: tuple[str, ...],
    changes: list[str],
    console: Console,
    kind: Kind = "run",
) -> dict[str, Any]:
    """Run the flow `brmrs` and return the run's summary.

    Args:
        config: the configuration.
        artifacts: root of the artifact store.
        until: the last stage to run.
        refresh: stages to run even if they are cached.
        changes: `section.field=value` over the files, for the name of the flow run.
        console: where the log and the progress are shown.
        kind: the command, for the list of runs.

    Raises:
        UserError: what the user can fix.
    """
    with _connected(console):
        from flows.full_pipeline import full_pipeline
        from flows.run_names import run_name

        options = [f"until={until}"] if until else []
        name = run_name(f"{config.name}-{config.model.name}", [*changes, *options])
        flow: Any = full_pipeline.with_options(flow_run_name=lambda: name)
        summary: dict[str, Any] = flow(
            artifacts=artifacts,
            until=until,
            refresh=refresh,
            kind=kind,
            **config.model_dump(mode="json"),
        )
        return summary


def retrain(parameters: dict[str, Any], console: Console) -> dict[str, Any]:
    """Run the flow `retrain` with these parameters and return its result.

    Raises:
        UserError: what the user can fix.
    """
    with _connected(console):
        from flows.retrain import retrain as flow

        outcome: Any = flow(**parameters)
        return dict(outcome)


def benchmark(
    config: Path,
    models: list[str],
    seeds: list[int],
    overrides: list[str],
    artifacts: Path,
    console: Console,
) -> dict[str, Any]:
    """Run the flow `benchmark` and return its table.

    Raises:
        UserError: what the user can fix.
        IncompleteError: some trainings failed; it carries the table of the others.
    """
    with _connected(console):
        from flows.benchmark import benchmark as flow

        result: Any = flow(config, models, seeds, overrides, artifacts)
        return dict(result)


@contextmanager
def _connected(console: Console) -> Iterator[None]:
    """Show our log and progress, and find or start a Prefect server."""
    logger = logging.getLogger("brmrs")
    logger.setLevel(min(logger.level or logging.INFO, logging.INFO))  # `--verbose` sets DEBUG
    logger.addHandler(RichHandler(console=console, show_path=False, show_level=False))
    with progress.shown(console), _ends_at_once(console):
        _find_server(console)
        yield


@contextmanager
def _ends_at_once(console: Console) -> Iterator[None]:
    """Let Ctrl-C end the process. Else Prefect would wait for the stages' threads.

    It is as safe as any kill: artifacts are written atomically, and locks and the embedded server
    end with the process.
    """

    def end(_number: int, _frame: object) -> NoReturn:
        console.show_cursor()
        console.print("\ninterrupted: finished stages are cached; run the command again to resume")
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _find_server(console: Console) -> None:
    """Use the configured server, or an embedded one where that is only the project's default.

    Raises:
        UserError: the environment names a server that cannot be used, or none can be started.
    """
    bypass_proxy()
    settings = read_settings()
    if settings.url:
        auth = secret.find(settings.profiles)
        found = who_answers(settings.url, auth)
        if found is Who.OURS:
            return
        if settings.named_url:
            raise UserError(
                f"PREFECT_API_URL: {found.value} at {settings.url}; {ADVICE.get(found, USE_OTHER)}"
            )
        if found is not Who.NOBODY:
            console.print(
                f"{found.value} at {settings.url}: this run starts a separate Prefect server",
                soft_wrap=True,
                highlight=False,
            )
    server = embedded.start(settings)
    # Before Prefect is imported: it reads the settings then.
    os.environ["PREFECT_API_URL"], os.environ["PREFECT_API_AUTH_STRING"] = server.url, server.auth

    import flows.full_pipeline  # noqa: F401 - takes a while, in which the server starts

    server.wait_until_healthy()
