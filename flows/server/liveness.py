"""Set flow runs whose process has ended to `Crashed`.

Prefect learns that a flow run ended from the run's own process, or from the worker that started it.
If both are killed, or the machine fails, the state stays `Running`. So every flow run stores its
process in a label, and the watcher of `brmrs up` checks that the process exists.

A worker starts each flow run in a separate session, so a signal to the worker's group does not
reach it. Without its worker, a run could not be cancelled, and the next run would wait for it. So
it ends with its worker.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Crashed

LOG = logging.getLogger("brmrs.liveness")
STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"  # Prefect sets it for the processes it starts
HOST, PROCESS = "brmrs.host", "brmrs.process"  # labels of a flow run
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_REPORT = 5.0
TIME_TO_START = timedelta(minutes=5)  # from `Pending` to the labels; long, for busy machines
UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
PROC = Path("/proc")  # of Linux
_START_TIME = 19  # place of the start time in /proc/PID/stat, counted after the command's name


def watched() -> None:
    """Store this process in a label of the flow run, and end with the worker that started it.

    Our lines go to the run's log: Prefect adds its handler to `extra_loggers`, but leaves their
    level at the root's, WARNING.
    """
    logging.getLogger("brmrs").setLevel(logging.INFO)
    run_id = UUID(flow_run.id)
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(
            run_id, {HOST: socket.gethostname(), PROCESS: process(os.getpid()) or ""}
        )
    if STARTED_BY_WORKER in os.environ:
        arguments = (os.getppid(), run_id)
        threading.Thread(target=_end_with_worker, args=arguments, daemon=True).start()


def process(pid: int) -> str | None:
    """A unique name of a process: its id and, on Linux, its start time.

    None if there is no such process.
    """
    if PROC.joinpath("self", "stat").is_file():
        try:
            stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
            boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        return f"{pid} {stat.rpartition(')')[2].split()[_START_TIME]} {boot}"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return str(pid)


def report_crashed(client: SyncPrefectClient) -> list[str]:
    """Set flow runs of this machine whose process has ended to `Crashed`; return their names."""
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    crashed = []
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state)):
        if fault := _fault(run):
            client.set_flow_run_state(run.id, Crashed(message=fault), force=True)
            crashed.append(run.name)
    return crashed


def _fault(run: FlowRun) -> str | None:
    """Why a flow run cannot be running, or None."""
    known = run.labels.get(PROCESS)
    if known:
        if run.labels.get(HOST) != socket.gethostname():
            return None  # the watcher of that machine checks it
        alive = process(int(str(known).split()[0])) == known
        return None if alive else "its process ended without a report: killed, or out of memory"
    if run.state is None or run.state.type is not StateType.PENDING:
        return None
    late = datetime.now(UTC) - run.state.timestamp > TIME_TO_START
    return f"not started within {TIME_TO_START}: its worker ended first" if late else None


def _end_with_worker(worker: int, run_id: UUID) -> None:
    while os.getppid() == worker:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    # Not by a signal, because a stage may not handle it for a long time.
    faults = (httpx.HTTPError, PrefectHTTPStatusError)
    with (
        contextlib.suppress(*faults),
        get_client(sync_client=True, httpx_settings={"timeout": SECONDS_TO_REPORT}) as client,
    ):
        client.set_flow_run_state(run_id, Crashed(message="the worker that started it ended"))
    os._exit(1)
