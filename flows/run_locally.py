"""Run the flow in this process: on the project's server if it answers, else on an embedded one."""

import contextlib
import logging
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from brmrs import progress
from brmrs.config import PipelineConfig

# Before Prefect is imported: our own lines tell the user what happens, Prefect's stay on its page.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
SECONDS_TO_ANSWER = 0.5


def run(
    config: PipelineConfig,
    artifacts: Path,
    until: str | None,
    refresh: tuple[str, ...],
    console: Console,
) -> dict[str, Any]:
    """Run the flow `brmrs` and return the run's summary.

    Raises:
        UserError: what the user can fix.
    """
    logger = logging.getLogger("brmrs")
    logger.setLevel(logging.INFO)
    logger.addHandler(RichHandler(console=console, show_path=False, show_level=False))
    with progress.shown(console), _server():
        from flows.full_pipeline import full_pipeline

        sections = {name: getattr(config, name) for name in PipelineConfig.model_fields}
        summary: dict[str, Any] = full_pipeline(
            **sections, artifacts=artifacts, until=until, refresh=refresh
        )
        return summary


@contextlib.contextmanager
def _server() -> Iterator[None]:
    """Prefect's settings for the run."""
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    url = get_current_settings().api.url
    if url and _answers(url):
        yield
    else:
        with temporary_settings(restore_defaults={PREFECT_API_URL}):
            yield


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=SECONDS_TO_ANSWER) as response:
            return bool(response.status == 200)
    except OSError:
        return False
