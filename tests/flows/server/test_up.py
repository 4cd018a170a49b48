"""`brmrs up` and deployments, as a user runs them: real server, worker, and `prefect` command."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import STAGES
from flows.server import secret

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-c", "from flows.cli.app import main; main()"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Up:
    """A running `brmrs up` in a copy of the project."""

    def __init__(self, project: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.project = project
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(project),
            "PREFECT_API_URL": self.api,
            "DO_NOT_TRACK": "1",
        }
        self.log = project / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--port", str(self.port)],
                cwd=project,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_for("Ctrl-C stops")

    def wait_for(self, text: str) -> None:
        self.wait_until(lambda: text in self.log.read_text())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 240
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def deploy_run(self, *parameters: str) -> subprocess.CompletedProcess[str]:
        """Run the deployment to its end."""
        return self.start_run(*parameters, "--watch")

    def start_run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Ask for a run of the deployment: parameters, and options of `prefect`."""
        options = [
            word
            for each in arguments
            for word in ([each] if each.startswith("--") else ["-p", each])
        ]
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "prefect",
                "deployment",
                "run",
                "brmrs/full-pipeline",
                *options,
            ],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def task_states(self) -> list[dict[str, str]]:
        """Of each flow run, the newest first: task name to state name."""
        runs = self.flow_runs()
        tasks = self.post("task_runs/filter", {})
        return [
            {
                task["name"].rpartition("-")[0]: task["state"]["name"]
                for task in tasks
                if task["flow_run_id"] == run["id"]
            }
            for run in runs
        ]

    def flow_runs(self) -> list[dict[str, Any]]:
        """The flow runs that have started, the newest first; the schedule's are yet to come."""
        found = self.post("flow_runs/filter", {"sort": "START_TIME_DESC"})
        return [run for run in found if run["start_time"]]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        auth = secret.find(self.project / ".prefect" / "profiles.toml")
        user, _, password = str(auth).partition(":")
        answer = httpx.post(f"{self.api}/{path}", json=body, auth=(user, password), timeout=10)
        answer.raise_for_status()
        return answer.json()

    def end(self) -> None:
        """Stop it, if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


def copy_project(to: Path, config: PipelineConfig) -> None:
    """The project's code and deployments, and `config` as small.yaml."""
    for name in ("brmrs", "tasks", "flows", "configs"):
        shutil.copytree(ROOT / name, to / name)
    for name in ("prefect.yaml", "prefect.toml"):
        shutil.copy(ROOT / name, to)
    (to / "small.yaml").write_text(config.to_yaml())


@pytest.fixture
def up(tmp_path: Path, small_config: PipelineConfig) -> Iterator[Up]:
    copy_project(tmp_path, small_config)
    running = Up(tmp_path)
    yield running
    running.end()


def children(pid: int) -> dict[int, str]:
    """Commands of the processes that `brmrs up` started, however deep, by process id."""
    table = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in table.splitlines()[1:]]
    found: dict[int, str] = {}
    todo = [pid]
    while todo:
        parent = todo.pop()
        own = {int(row[0]): row[2] for row in rows if int(row[1]) == parent}
        found |= own
        todo += own
    return found


def test_a_deployment_runs_twice_the_second_time_cached(up: Up) -> None:
    logged = ""
    for _ in range(2):
        done = up.deploy_run("config=small.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Completed" in done.stdout
        logged += done.stdout
    assert "interactions of" in logged, "the run's own log lines are not shown by --watch"
    second, first = up.task_states()
    names = {stage.name for stage in STAGES}
    assert {first[name] for name in names} == {"Completed"}
    assert {second[name] for name in names} == {"Cached"}

    changed = up.deploy_run("config=small.yaml", 'train={"learning_rate": 0.01}')
    assert changed.returncode == 0, changed.stdout
    assert "train BRMRS: epoch 1 of at most 2: " in changed.stdout
    states = up.task_states()[0]
    ran = {name for name in names if states[name] == "Completed"}
    assert ran == {"train", "evaluate", "diagnosis", "publish", "report"}

    failed = up.deploy_run("config=small.yaml", 'ingest={"k": 1000}')
    assert failed.returncode != 0


def test_a_killed_worker_comes_back_and_sigterm_ends_all(up: Up) -> None:
    before = children(up.process.pid)
    (worker,) = [pid for pid, command in before.items() if "worker start" in command]
    os.kill(worker, signal.SIGKILL)
    up.wait_for("the worker ended; starting it again")
    done = up.deploy_run("config=small.yaml", "until=split")
    assert done.returncode == 0, done.stdout + done.stderr
    running = children(up.process.pid)
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(30) == 0
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", up.port)) != 0


@pytest.mark.parametrize("killed", ["worker", "worker and flow run"])
def test_after_a_kill_the_run_has_crashed_and_the_next_one_runs(up: Up, killed: str) -> None:
    """The flow run, in a session of its own, ends with its worker and lets the store go."""
    up.start_run("config=small.yaml", "concurrency=refuse", 'train={"epochs": 5000}')
    scratch = up.project / "artifacts" / "scratch"
    up.wait_until(lambda: (scratch / "train").exists())
    (worker,) = [
        pid for pid, command in children(up.process.pid).items() if "worker start" in command
    ]
    (flow,) = [pid for pid, command in children(worker).items() if "prefect.engine" in command]
    os.killpg(worker, signal.SIGKILL)
    if killed == "worker and flow run":
        os.kill(flow, signal.SIGKILL)
    started = time.monotonic()
    up.wait_until(lambda: up.flow_runs()[0]["state_name"] == "Crashed")
    assert time.monotonic() - started < 60
    up.wait_until(lambda: not Path(f"/proc/{flow}").exists())
    up.start_run("config=small.yaml", "concurrency=refuse", "until=split")
    up.wait_until(lambda: up.flow_runs()[0]["state_name"] == "Completed")


def test_a_taken_port_and_a_folder_in_use_are_told(up: Up, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("prefect.yaml", "prefect.toml"):
        shutil.copy(ROOT / name, other)
    taken = "is taken; a Prefect server with another secret answers there"
    for folder, reported in ((other, taken), (up.project, "`brmrs up` on port")):
        second = subprocess.run(
            [*COMMAND, "up", "--port", str(up.port)],
            cwd=folder,
            env=up.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 2
        assert reported in second.stderr
