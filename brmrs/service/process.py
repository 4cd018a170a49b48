"""The process of the service: one socket, one or several workers."""

import json
import logging
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from brmrs.errors import UserError
from brmrs.service import access
from brmrs.service.app import Settings, create
from brmrs.service.served import Choice, ServedRuns
from brmrs.store.artifacts import ArtifactStore

ENVIRONMENT = "BRMRS_SERVICE"  # the options for the workers, as JSON
BACKLOG = 1024  # connections that wait for a worker
MOST_CONNECTIONS = 1000  # of a worker
SECONDS_TO_STOP = 10  # for the requests in work


@dataclass(frozen=True)
class Options:
    """The options of `brmrs serve`.

    Attributes:
        artifacts: folder of the store.
        run: name of a run; None: the served run.
        data: name of the data set.
        host: address to listen on.
        port: 0 for any free port.
        allowed: names under which the service is called, beside `host` and this machine's.
        token_file: holds the token.
        workers: processes.
    """

    artifacts: Path
    run: str | None
    data: str | None
    host: str
    port: int
    allowed: tuple[str, ...]
    token_file: Path | None
    workers: int

    def settings(self, counters: Path | None = None) -> Settings:
        """The settings of a worker.

        Raises:
            UserError: the access is unsafe, or the token file unsuitable.
        """
        # Two at least, so that one slow answer does not hold up all others.
        threads = max(2, (os.cpu_count() or 1) // self.workers)
        return Settings(
            Choice(ArtifactStore(self.artifacts), self.run, self.data),
            access.make(self.host, self.allowed, self.token_file),
            threads,
            counters,
        )


def run(options: Options, report: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: of the command.
        report: prints a line.

    Raises:
        UserError: there is no run to serve, the address cannot be used, or access is unsafe.
    """
    settings = options.settings()
    served = ServedRuns(settings.choice)
    served.load()  # before the socket is opened, so that a fault is one line
    listening = listen(options.host, options.port)
    report(f"run {served.now.run.name} is served on {_address(listening)}")
    try:
        if options.workers == 1:
            _log()
            uvicorn.Server(_config(create(settings, served))).run(sockets=[listening])
        else:
            del served  # each worker loads it
            _supervise(options, listening)
    finally:
        listening.close()


def _supervise(options: Options, listening: socket.socket) -> None:
    """Run several workers on one socket; one that ends is started again."""
    with tempfile.TemporaryDirectory(prefix="brmrs-service-") as counters:
        shown = {**asdict(options), "counters": counters}
        os.environ[ENVIRONMENT] = json.dumps(shown, default=str)
        config = _config(f"{__name__}:worker", factory=True, workers=options.workers)
        Multiprocess(config, [listening]).run()


def worker() -> FastAPI:
    """The application of one of several workers, by the options in the environment."""
    _log()
    values = json.loads(os.environ[ENVIRONMENT])
    counters = Path(values.pop("counters"))
    token_file = values["token_file"] and Path(values["token_file"])
    options = Options(
        **{
            **values,
            "artifacts": Path(values["artifacts"]),
            "allowed": tuple(values["allowed"]),
            "token_file": token_file,
        }
    )
    return create(options.settings(counters))


def _config(app: Any, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        access_log=False,  # its lines would hold users' ids
        log_level="warning",
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=SECONDS_TO_STOP,
        **more,
    )


def _log() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("brmrs").setLevel(logging.INFO)


def listen(host: str, port: int) -> socket.socket:
    """A socket on the address.

    Raises:
        UserError: the address is taken or not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Connections inherit it. Without it, an answer's second part waits 40 ms for the client.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise UserError(
            f"{host}, port {port}: {error.strerror}; choose another with --host or --port"
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
