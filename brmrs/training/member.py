"""One process of a training by several: it meets the others, works, and reports.

`by_dimension` starts such processes on this machine, `on_cluster` on the machines of a Ray cluster.
`brmrs/models/columns.py` explains what they exchange.
"""

import logging
import logging.handlers
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist

from brmrs.errors import UserError, os_fault
from brmrs.models.columns import WHOLE, Columns
from brmrs.system import progress
from brmrs.system.checkpoint import Checkpoints
from brmrs.training.packed import Shared
from brmrs.training.shares import Keeper, Shares

RESULT, REFUSED, CRASHED, RECORD, STEP = "result", "refused", "crashed", "record", "step"

Work = Callable[..., Any]  # a function of a module, so that another process can import it
Send = Callable[[str, Any], None]  # a kind of message, and what it holds


@dataclass(frozen=True)
class Member:
    """What a process works with.

    Attributes:
        device: to train on.
        columns: those that it trains.
        inputs: what all processes share; not to be written to.
        checkpoints: None: none are kept.
    """

    device: torch.device
    columns: Columns = WHOLE
    inputs: Any = None
    checkpoints: Checkpoints | None = None


@dataclass(frozen=True)
class Job:
    """A training by several processes.

    Attributes:
        work: called as `work(member, *arguments)` in each process; all must call the collectives in
            the same order. The result of the first process is that of the job: plain values,
            dataclasses and tensors.
        processes: W.
        dim: d, which W divides.
        on: the kind of device; each process takes a CUDA device of its own.
        arguments: small values that can be pickled.
        shared: the inputs, loaded in each process; None: none.
    """

    work: Work
    processes: int
    dim: int
    on: torch.device
    arguments: tuple[Any, ...] = ()
    shared: Shared | None = None


@dataclass(frozen=True)
class Seat:
    """What distinguishes a process from the others.

    Attributes:
        number: counted from 0.
        machine: a name that the processes of one machine have in common.
        device: to train on.
        threads: of torch.
        meeting: how it meets the others, as arguments of `init_process_group`.
        keeper: of its checkpoints.
        send: sends a message to the process that started the job.
        hand_over: turns the result of the first process into what can be sent.
    """

    number: int
    machine: str
    device: torch.device
    threads: int
    meeting: Mapping[str, Any]
    keeper: Keeper
    send: Send
    hand_over: Callable[[Any], Any]


def work(job: Job, seat: Seat) -> tuple[str, Any]:
    """Do a process's part of a job.

    Returns:
        (RESULT, what the first process hands over), (REFUSED, the line of a UserError) or (CRASHED,
        a traceback).
    """
    torch.set_num_threads(seat.threads)
    _forward_log(seat)
    try:
        return RESULT, _met(job, seat)
    except UserError as error:
        return REFUSED, str(error)
    except Exception as error:
        fault = os_fault(error)
        return (REFUSED, str(fault)) if fault else (CRASHED, traceback.format_exc())


def _met(job: Job, seat: Seat) -> Any:
    backend = "gloo"
    if seat.device.type == "cuda":
        torch.cuda.set_device(seat.device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, rank=seat.number, world_size=job.processes, **dict(seat.meeting)
    )
    columns = Columns(seat.number, job.processes, job.dim)
    columns = replace(columns, here=columns.everywhere(seat.machine).count(seat.machine))
    inputs = None
    if job.shared:
        inputs = job.shared.load()
        columns.wait()
        if columns.first:
            job.shared.discard()
    member = Member(seat.device, columns, inputs, Shares(columns, seat.keeper))
    with progress.watched(lambda task: _send_step(task, seat)):
        result = job.work(member, *job.arguments)
    if columns.first:
        result = seat.hand_over(result)
    dist.destroy_process_group()
    return result


def _forward_log(seat: Seat) -> None:
    """Records of the project to the process that started the job; progress is logged there."""

    class Forward(logging.handlers.QueueHandler):
        def enqueue(self, record: logging.LogRecord) -> None:
            seat.send(RECORD, record)

    root = logging.getLogger("brmrs")
    root.setLevel(logging.WARNING if seat.number else logging.INFO)  # the others' are the same
    root.addHandler(Forward(None))  # type: ignore[arg-type]
    progress.LOG.setLevel(logging.WARNING)


def _send_step(task: progress.Task, seat: Seat) -> None:
    if seat.number == 0:
        fields = ("description", "total", "counted", "done", "note")
        seat.send(STEP, {name: getattr(task, name) for name in fields})


@dataclass
class Shown:
    """Repeats the log and the progress of a job in the process that started it."""

    tasks: ExitStack = field(default_factory=ExitStack)
    _by_name: dict[str, progress.Task] = field(default_factory=dict)

    def show(self, kind: str, value: Any) -> None:
        """Take a message of the kinds RECORD and STEP."""
        if kind == RECORD:
            logging.getLogger(value.name).handle(value)
            return
        name = value["description"]
        if name not in self._by_name:
            opened = progress.task(name, value["total"], value["counted"], log_first=True)
            self._by_name[name] = self.tasks.enter_context(opened)
        self._by_name[name].advance(value["done"] - self._by_name[name].done, value["note"])
