"""One training in several processes of this machine, each with some columns of every embedding.

`launch` starts the processes, forwards their log and progress, and ends all of them when one fails.
`brmrs/models/columns.py` explains what they exchange.
"""

import logging
import logging.handlers
import os
import queue
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from brmrs.errors import UserError
from brmrs.models.columns import Columns
from brmrs.system import checkpoint, progress

LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_CHECKS = 0.2
LOOPBACK = "lo"
RESULT, REFUSED, CRASHED, RECORD, STEP = "result", "refused", "crashed", "record", "step"

Work = Callable[..., Any]  # a function of a module, so that another process can import it


def launch(work: Work, processes: int, dim: int, on: torch.device, *arguments: Any) -> Any:
    """Call `work(columns, device, *arguments)` in each of W processes.

    Args:
        work: what a process does; all processes must call the collectives in the same order.
        processes: W.
        dim: d, which W divides.
        on: the kind of device; each process takes a CUDA device of its own.
        arguments: values that can be pickled.

    Returns:
        The result of the first process, plain values or arrays.

    Raises:
        UserError: a process raised it, or was killed, or there are fewer CUDA devices.
        RuntimeError: a process failed for another reason; the text holds its traceback.
    """
    if on.type == "cuda" and torch.cuda.device_count() < processes:
        raise UserError(
            f"train.processes is {processes}, and torch finds {torch.cuda.device_count()} CUDA "
            "devices here; lower it, or set train.device=cpu"
        )
    threads = max(1, torch.get_num_threads() // processes)
    LOG.info("training in %d processes of %d threads each", processes, threads)
    messages = get_context("spawn").Queue()
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        started = start_processes(  # type: ignore[no-untyped-call]
            _process,
            (work, processes, dim, on.type, threads, meeting, messages, arguments),
            nprocs=processes,
            join=False,
            start_method="spawn",
        )
        try:
            return _supervised(started, messages)
        finally:
            for process in started.processes:  # still alive only if this process was interrupted
                if process.is_alive():
                    process.kill()


def _supervised(started: Any, messages: Any) -> Any:
    """Forward messages until all processes have ended; returns the first one's result."""
    found: dict[str, Any] = {}
    with ExitStack() as tasks:
        shown: dict[str, progress.Task] = {}

        def forward(wait: float) -> None:
            until = time.monotonic() + wait
            while True:
                try:
                    kind, value = messages.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    return
                if kind == RECORD:
                    logging.getLogger(value.name).handle(value)
                elif kind == STEP:
                    _show(value, shown, tasks)
                else:
                    found.setdefault(kind, value)

        try:
            while not started.join(timeout=0):
                forward(SECONDS_BETWEEN_CHECKS)
        except ProcessExitedException as error:
            forward(SECONDS_BETWEEN_CHECKS)
            raise _fault(started.processes, found) from error
        forward(SECONDS_BETWEEN_CHECKS)
    return found.get(RESULT)


def _fault(processes: list[Any], found: dict[str, Any]) -> Exception:
    """The cause of a failure: one process's death makes the messages of the others fail."""
    if REFUSED in found:
        return UserError(found[REFUSED])
    for number, process in enumerate(processes):
        code = -(process.exitcode or 0)
        if code > 0 and code != signal.SIGTERM:  # SIGTERM ends the others
            return UserError(
                f"process {number + 1} of {len(processes)} of the training was killed by "
                f"{signal.Signals(code).name}, perhaps for lack of memory; run again to continue "
                "from the checkpoint"
            )
    return RuntimeError(found.get(CRASHED, "a process of the training ended without a message"))


def _show(step: dict[str, Any], shown: dict[str, progress.Task], tasks: ExitStack) -> None:
    """Repeat a step of the first process's progress in this process."""
    name = step["description"]
    if name not in shown:
        opened = progress.task(name, step["total"], step["counted"], log_first=True)
        shown[name] = tasks.enter_context(opened)
    shown[name].advance(step["done"] - shown[name].done, step["note"])


def _process(
    number: int,
    work: Work,
    processes: int,
    dim: int,
    kind: str,
    threads: int,
    meeting: Path,
    messages: Any,
    arguments: tuple[Any, ...],
) -> None:
    """The body of one process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it within a message, too
    columns = Columns(number, processes, dim)
    torch.set_num_threads(threads)
    _forward_log(messages)
    if Path(f"/sys/class/net/{LOOPBACK}").exists():  # no port that other machines can reach
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", LOOPBACK)
    on, backend = torch.device(kind), "gloo"
    if kind == "cuda":
        on = torch.device(kind, number)
        torch.cuda.set_device(on)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, init_method=f"file://{meeting}", rank=number, world_size=processes
    )
    try:
        with progress.watched(lambda task: _send(task, columns, messages)):
            result = work(columns, on, *arguments)
        if columns.first:
            messages.put((RESULT, result))
    except UserError as error:
        messages.put((REFUSED, str(error)))
        raise SystemExit(1) from error
    except Exception:
        messages.put((CRASHED, traceback.format_exc()))
        raise SystemExit(1) from None
    finally:
        messages.close()
        messages.join_thread()
    dist.destroy_process_group()


def _forward_log(messages: Any) -> None:
    """Records of the project to the first process's parent; those on progress are made there."""

    class Forward(logging.handlers.QueueHandler):
        def enqueue(self, record: logging.LogRecord) -> None:
            messages.put((RECORD, record))

    root = logging.getLogger("brmrs")
    root.setLevel(logging.INFO)
    root.addHandler(Forward(messages))
    progress.LOG.setLevel(logging.WARNING)


def _send(task: progress.Task, columns: Columns, messages: Any) -> None:
    if columns.first:
        fields = ("description", "total", "counted", "done", "note")
        messages.put((STEP, {name: getattr(task, name) for name in fields}))


def checkpoint_file(folder: Path, name: str, columns: Columns) -> Path:
    """The file of this process's state; every process has its own."""
    if columns.workers == 1:
        return folder / name
    return folder / f"{Path(name).stem}-{columns.worker}-of-{columns.workers}{Path(name).suffix}"


def save(file: Path, state: dict[str, Any], columns: Columns) -> None:
    """Write a checkpoint such that after a kill there is one epoch that every process has."""
    if columns.workers == 1:
        checkpoint.save(file, state)
        return
    coming = _coming(file)
    checkpoint.save(coming, state)
    columns.wait()  # only now does nobody need the last one
    coming.replace(file)


def load(
    file: Path, device: torch.device, identity: dict[str, Any], columns: Columns
) -> dict[str, Any] | None:
    """The newest checkpoint that every process has; None without one."""
    if columns.workers == 1:
        return checkpoint.load(file, device)
    found = {}
    for path in (file, _coming(file)):
        state = checkpoint.load(path, device)
        if state and state["run"] == identity:
            found[state["history"]["epoch"]] = state
    common = set.intersection(*columns.everywhere(set(found)))
    return found[max(common)] if common else None


def _coming(file: Path) -> Path:
    return file.with_suffix(".next")
