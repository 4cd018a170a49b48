"""One training in several processes, each with some columns of every embedding.

`launch` starts them on this machine or on those of a Ray cluster (`on_cluster`), repeats their log
and progress, and ends all of them when one fails. `member` is what such a process does.
"""

import logging
import os
import queue
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from brmrs.errors import UserError
from brmrs.system.cluster import Pool
from brmrs.training import on_cluster
from brmrs.training.member import (
    CRASHED,
    RECORD,
    REFUSED,
    RESULT,
    STEP,
    Job,
    Seat,
    Shown,
    work,
)
from brmrs.training.packed import Shared, TensorFile
from brmrs.training.shares import Folder

LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_CHECKS = 0.2
LOOPBACK = "lo"


def share(value: Any, folder: Path, pool: Pool | None = None) -> Shared:
    """Put a value where the processes of a job can load it, once per machine.

    Args:
        value: its tensors may be large.
        folder: of this machine, for a file.
        pool: the cluster; None: the processes are on this machine.

    Raises:
        OSError: the disk is full.
        UserError: no cluster.
    """
    if pool:
        return on_cluster.put(value, pool)
    return TensorFile.write(_emptied(folder / "inputs"), value)


def launch(job: Job, folder: Path, pool: Pool | None = None) -> Any:
    """Do a job in several processes.

    Args:
        job: what is done.
        folder: for checkpoints, and for files of the job while it lasts.
        pool: the cluster whose machines run the processes, each with the pool's cores; None: this
            machine.

    Returns:
        The result of the first process.

    Raises:
        UserError: a process raised it, or was killed; or the devices or machines do not suffice.
        RuntimeError: a process failed for another reason; the text holds its traceback.
    """
    return on_cluster.launch(job, pool, folder) if pool else _on_this_machine(job, folder)


def _on_this_machine(job: Job, folder: Path) -> Any:
    if job.on.type == "cuda" and torch.cuda.device_count() < job.processes:
        raise UserError(
            f"train.processes is {job.processes}, and torch finds {torch.cuda.device_count()} CUDA "
            "devices here; lower it, or set train.device=cpu"
        )
    threads = max(1, torch.get_num_threads() // job.processes)
    LOG.info("training in %d processes of %d threads each", job.processes, threads)
    messages = get_context("spawn").Queue()
    with _meeting(folder) as meeting:
        started = start_processes(  # type: ignore[no-untyped-call]
            _process,
            (job, threads, folder, meeting, messages, os.getpid()),
            nprocs=job.processes,
            join=False,
            start_method="spawn",
        )
        try:
            result: TensorFile = _supervised(started, messages)
            return result.load()
        finally:
            for process in started.processes:  # still alive only if this process was interrupted
                if process.is_alive():
                    process.kill()


@contextmanager
def _meeting(folder: Path) -> Iterator[Path]:
    """A new folder for the files by which the processes meet, and for the result."""
    meeting = _emptied(folder / "meeting")
    meeting.mkdir(parents=True)
    try:
        yield meeting
    finally:
        shutil.rmtree(meeting, ignore_errors=True)


def _emptied(path: Path) -> Path:
    """The path, without what a killed job left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    return path


def _supervised(started: Any, messages: Any) -> Any:
    """Take messages until all processes have ended; returns the first one's result."""
    found: dict[str, Any] = {}
    shown = Shown()

    def take(wait: float) -> None:
        until = time.monotonic() + wait
        while True:
            try:
                kind, value = messages.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if kind in (RECORD, STEP):
                shown.show(kind, value)
            else:
                found.setdefault(kind, value)

    with shown.tasks:
        try:
            while not started.join(timeout=0):
                take(SECONDS_BETWEEN_CHECKS)
        except ProcessExitedException as error:
            take(SECONDS_BETWEEN_CHECKS)
            raise _fault(started.processes, found) from error
        take(SECONDS_BETWEEN_CHECKS)
    return found[RESULT]


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


def _process(
    number: int, job: Job, threads: int, folder: Path, meeting: Path, messages: Any, parent: int
) -> None:
    """The body of one process."""
    # torch has it sent SIGINT when the parent dies, from here on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it within a message, too
    if os.getppid() != parent:
        return
    if Path(f"/sys/class/net/{LOOPBACK}").exists():  # no port that other machines can reach
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", LOOPBACK)
    # Not by a URL file://, in which a relative path, # and ? mean something else.
    store = dist.FileStore(  # type: ignore[attr-defined]
        str(meeting / "addresses"), job.processes
    )
    seat = Seat(
        number,
        "this machine",
        torch.device("cuda", number) if job.on.type == "cuda" else job.on,
        threads,
        {"store": store},
        Folder(folder, number, job.processes),
        lambda kind, value: messages.put((kind, value)),
        lambda value: TensorFile.write(meeting / "result", value),
    )
    kind, value = work(job, seat)
    if kind != RESULT or number == 0:
        messages.put((kind, value))
    messages.close()
    messages.join_thread()
    if kind != RESULT:
        raise SystemExit(1)
