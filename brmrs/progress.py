"""Progress of long work: a bar on a terminal, a line now and then elsewhere.

Several stages may report at once. Nothing is shown until `shown()` is entered, so a library
user sees no output unless asked for.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LOG = logging.getLogger("brmrs.progress")
SECONDS_BETWEEN_LINES = 10.0

_bars: Progress | None = None


@dataclass
class Task:
    """One piece of long work; `advance` says how far it is."""

    description: str
    total: int
    done: int = 0
    note: str = ""
    _bar: int | None = None
    _last_line: float = field(default_factory=time.monotonic)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count more steps as done; `note` (loss terms, a metric) replaces the last one."""
        self.done += count
        self.note = note or self.note
        if _bars is not None and self._bar is not None:
            _bars.update(self._bar, completed=self.done, note=self.note)  # type: ignore[arg-type]
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            LOG.info("%s: %d of %d %s", self.description, self.done, self.total, self.note)


@contextmanager
def task(description: str, total: int) -> Iterator[Task]:
    """Report on `total` steps of work."""
    current = Task(description, total)
    bars = _bars
    if bars is None:
        yield current
        return
    bar = bars.add_task(description, total=total, note="")
    current._bar = bar
    try:
        yield current
    finally:
        bars.remove_task(bar)


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Show the bars of all tasks on this console, if it is a terminal."""
    global _bars
    if not console.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        _bars = bars
        try:
            yield
        finally:
            _bars = None
