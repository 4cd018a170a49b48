"""Progress of long work: a bar on a terminal, occasional log lines elsewhere.

Several stages may report at once. Nothing is shown until `shown()` is entered, so a library
user sees no output unless asked for.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

LOG = logging.getLogger("brmrs.system.progress")
SECONDS_BETWEEN_LINES = 10.0
COUNTED, EPOCHS = "{done:,} of {total:,}", "epoch {done:,} of at most {total:,}"

_bars: Progress | None = None
_watcher: ContextVar["Callable[[Task], None] | None"] = ContextVar("watcher", default=None)


@dataclass
class Task:
    """One piece of long work; call `advance` for each step and `end` at its end.

    Attributes:
        description: of the work.
        total: number of steps.
        counted: text of the count, with the fields `done` and `total`.
        done: number of steps done.
        note: loss terms, a metric.
        ended: whether it has ended.
    """

    description: str
    total: int
    counted: str = COUNTED
    done: int = 0
    note: str = ""
    ended: bool = False
    _watcher: Callable[["Task"], None] | None = field(default_factory=_watcher.get)
    _bar: int | None = None
    _last_line: float = field(default_factory=time.monotonic)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count more steps as done; `note` (loss terms, a metric) replaces the last one."""
        self.done += count
        self.note = note or self.note
        self._tell()
        if _bars is not None and self._bar is not None:
            _bars.update(self._bar, completed=self.done, note=self.note)  # type: ignore[arg-type]
        elif count and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            LOG.info("%s", self.text)

    @property
    def text(self) -> str:
        """How far it is, such as "train BRMRS: epoch 3 of at most 1,000: recall@20 0.0712"."""
        count = self.counted.format(done=self.done, total=self.total)
        return ": ".join(filter(None, (self.description, count, self.note)))

    def end(self) -> None:
        """Count no more: work may stop before its total."""
        self.ended = True
        self._tell()

    def _tell(self) -> None:
        if self._watcher is not None:
            self._watcher(self)


@contextmanager
def watched(watcher: Callable[[Task], None]) -> Iterator[None]:
    """Call back for every step of the tasks that begin within the block, in this thread."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def task(
    description: str, total: int, counted: str = COUNTED, *, log_first: bool = False
) -> Iterator[Task]:
    """Report on `total` steps of work.

    Args:
        description: see `Task`.
        total: see `Task`.
        counted: see `Task`.
        log_first: log the first step at once, instead of after `SECONDS_BETWEEN_LINES`.
    """
    current = Task(description, total, counted)
    if log_first:
        current._last_line -= SECONDS_BETWEEN_LINES
    bars = _bars
    if bars is not None:
        current._bar = bars.add_task(description, total=total, note="")
    try:
        yield current
    finally:
        current.end()
        if bars is not None and current._bar is not None:
            bars.remove_task(TaskID(current._bar))


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
