"""`brmrs up`: keeps a Prefect server, a worker and a watcher running in the foreground."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from rich.console import Console

from brmrs.errors import UserError
from brmrs.store import locks
from brmrs.system.files import open_appended
from flows.server import folder, secret, serve
from flows.server.recognise import Who, who_answers
from flows.server.settings import FolderSettings, bypass_proxy
from flows.server.settings import read as read_settings

HOST = serve.HOST
POOL = "brmrs"
LOGS = Path("artifacts/logs")
SECONDS_TO_STOP = 10.0
RESTARTS_IN_A_ROW = 5
STEADY_SECONDS = 60.0  # after so long without a restart, earlier restarts do not count


@dataclass
class Service:
    """A child process that is restarted when it dies."""

    name: str
    command: list[str]
    environment: dict[str, str]
    umask: int = -1  # as this process's
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = field(default=0.0)

    def start(self) -> None:
        """Start it in a separate session, so that Ctrl-C reaches only this process."""
        with _opened(LOGS / f"{self.name}.log") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                umask=self.umask,
            )
        self.started = time.monotonic()

    def dead(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        if self.process is not None and not self.dead():
            os.killpg(self.process.pid, number)


class _Stop(Exception):  # noqa: N818 - not a fault
    """SIGINT or SIGTERM came."""


def up(port: int, console: Console) -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        UserError: the port is taken, another `brmrs up` runs in this folder, the folder or
            Prefect's cannot be written, or a service does not stay up.
    """
    for name in folder.write_missing():
        console.print(f"wrote    {name}, which was missing", soft_wrap=True, highlight=False)
    bypass_proxy()
    settings = read_settings()
    with _only_one(port):
        secret.private_folder(settings.home)  # holds the profiles, if nothing names another file
        auth = secret.find_or_make(settings.profiles)
        _refuse_taken(port, auth)
        _keep_up(port, auth, settings, console)


def _only_one(port: int) -> AbstractContextManager[None]:
    """Two servers on one database would block each other."""
    return locks.single(LOGS / "up.lock", f"`brmrs up` on port {port}", wait=False)


def _opened(path: Path) -> IO[bytes]:
    """Open a log in the artifacts' folder, which is untrusted.

    Raises:
        UserError: it cannot be opened, is a link, or is no regular file.
    """
    try:
        return open_appended(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; remove it") from error


def _keep_up(port: int, auth: str, settings: FolderSettings, console: Console) -> None:
    url = f"http://{HOST}:{port}/api"
    environment = {
        **serve.environment(port, auth, settings.home),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "brmrs",
        # Without both, `prefect deployment run --watch` shows events but no line of the log.
        "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
        "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
    }
    server = Service(
        "server", serve.command(port, end_with_parent=False), environment, umask=secret.UMASK
    )
    start = ["-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    worker = Service("worker", [sys.executable, *start], environment)
    watcher = Service("watcher", [sys.executable, "-m", "flows.server.watcher"], environment)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_stop)
    try:
        server.start()
        if not serve.wait_until_healthy(url, auth, server.dead):
            raise UserError(f"the Prefect server did not start; see {LOGS / 'server.log'}")
        _deploy(environment, console)
        worker.start()
        watcher.start()
        _say_ready(console, port, url, settings)
        while True:
            time.sleep(1)
            for service in (server, worker, watcher):
                _revive(service, console)
    except _Stop:
        console.print("stopping")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C would leave orphans
        _stop([watcher, worker, server])


def _raise_stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Stop


def _refuse_taken(port: int, auth: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            found = who_answers(f"http://{HOST}:{port}/api", auth)
            who = f"; {found.value} there" if found is not Who.NOBODY else ""
            raise UserError(
                f"port {port} is taken{who}; stop that program or choose another port with --port"
            ) from error


def _deploy(environment: dict[str, str], console: Console) -> None:
    """Register the work pool and the deployments of prefect.yaml."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.server.deploy"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"prefect.yaml could not be registered: {done.stdout}{done.stderr}")
    for line in done.stdout.splitlines():
        console.print(line, soft_wrap=True, highlight=False)


def _say_ready(console: Console, port: int, url: str, settings: FolderSettings) -> None:
    lines = [
        f"page     http://{HOST}:{port}",
        f"login    the value of: grep PREFECT_API_AUTH {settings.profiles}",
        "run      prefect deployment run brmrs/full-pipeline --watch",
        "dumps    new files start brmrs/retrain (see prefect.yaml)",
        f"logs     {LOGS}/server.log, worker.log, watcher.log",
        "Ctrl-C stops them all",
    ]
    if settings.url != url:
        lines.insert(2, f"first    export PREFECT_API_URL={url}")
    if not settings.prefect_finds_profiles:
        lines.insert(2, f"first    export PREFECT_PROFILES_PATH={settings.profiles.resolve()}")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _revive(service: Service, console: Console) -> None:
    if not service.dead():
        if service.restarts and time.monotonic() - service.started > STEADY_SECONDS:
            service.restarts = 0
        return
    if service.restarts == RESTARTS_IN_A_ROW:
        raise UserError(f"the {service.name} keeps ending; see {LOGS / (service.name + '.log')}")
    service.restarts += 1
    console.print(f"the {service.name} ended; starting it again")
    service.start()


def _stop(services: list[Service]) -> None:
    """Stop the worker before the server, so that it can report the runs that it ends."""
    for service in services:
        service.signal(signal.SIGTERM)
        if service.process is None:
            continue
        try:
            service.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            service.signal(signal.SIGKILL)
            service.process.wait()
