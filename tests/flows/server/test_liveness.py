"""Flow runs whose process is gone are reported as crashed, and no others."""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, StateType
from prefect.states import Pending, Running

from flows.server import liveness
from flows.server.liveness import HOST, PROCESS, process, report_crashed, watched

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow(name="brmrs")
def some_flow() -> dict[str, bool | int | float | str]:
    from prefect.runtime import flow_run

    watched()
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(flow_run.id)).labels


def start(
    client: SyncPrefectClient, labels: dict[str, bool | int | float | str], state: State
) -> UUID:
    run = client.create_flow_run(some_flow, state=state)
    client.update_flow_run_labels(run.id, labels)
    return run.id


def ended_process() -> str:
    """The name of a process that is gone."""
    code = "import os; from flows.server.liveness import process; print(process(os.getpid()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def state_after(labels: dict[str, bool | int | float | str], state: State) -> tuple[StateType, str]:
    with get_client(sync_client=True) as client:
        run = start(client, labels, state)
        report_crashed(client)
        found = client.read_flow_run(run).state
        client.delete_flow_run(run)
    assert found is not None
    return found.type, str(found.message)


def test_a_flow_notes_its_process() -> None:
    labels = some_flow()
    assert labels[HOST] == socket.gethostname()
    assert labels[PROCESS] == process(os.getpid())


def test_a_run_whose_process_is_gone_has_crashed() -> None:
    kind, message = state_after({HOST: socket.gethostname(), PROCESS: ended_process()}, Running())
    assert kind is StateType.CRASHED
    assert "its process ended without a report" in message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells processes with one id apart")
def test_another_process_with_the_same_id_is_not_taken_for_it() -> None:
    pid, _, boot = str(process(os.getpid())).split()
    labels: dict[str, bool | int | float | str] = {
        HOST: socket.gethostname(),
        PROCESS: f"{pid} 1 {boot}",
    }
    assert state_after(labels, Running())[0] is StateType.CRASHED


@pytest.mark.parametrize("host", [socket.gethostname(), "elsewhere"])
def test_a_run_that_lives_or_is_elsewhere_stays(host: str) -> None:
    alive = str(process(os.getpid()) if host != "elsewhere" else ended_process())
    assert state_after({HOST: host, PROCESS: alive}, Running())[0] is StateType.RUNNING


@pytest.mark.parametrize(
    ("time_to_start", "expected"),
    [(liveness.TIME_TO_START, StateType.PENDING), (timedelta(0), StateType.CRASHED)],
)
def test_a_run_that_was_never_started_has_crashed(
    time_to_start: timedelta, expected: StateType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "TIME_TO_START", time_to_start)
    assert state_after({}, Pending())[0] is expected


def test_a_process_that_never_was_has_no_name() -> None:
    assert process(2**22 + 1) is None
