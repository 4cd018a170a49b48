"""A Prefect server for the length of one run: a child process that dies with its parent.

Prefect's own temporary server is loaded into both processes, one after the other, and outlives a
parent that is killed. This one starts while the parent still imports, and watches a pipe that the
parent holds open: however the parent ends, the pipe closes.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.client import HTTPException

from brmrs.errors import UserError

HOST = "127.0.0.1"
SECONDS_TO_START = 90.0
SECONDS_TO_STOP = 5.0


_running: subprocess.Popen[bytes] | None = None  # keeps the pipe open until this process ends


def start() -> str:
    """Start the server; its API address comes at once, `wait_until_healthy` when it answers.

    It ends after this process: Prefect still sends it logs and events at the very end.
    """
    global _running
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    _running = subprocess.Popen(
        [sys.executable, "-m", "flows.server.embedded", str(port)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"},
        start_new_session=True,  # Ctrl-C reaches the run alone, which still has to tell the server
    )
    return f"http://{HOST}:{port}/api"


def wait_until_healthy(url: str) -> None:
    """Return as soon as the server answers.

    Raises:
        UserError: it ended, or does not answer in time.
    """
    deadline = time.monotonic() + SECONDS_TO_START
    while not answers(url):
        if (_running and _running.poll() is not None) or time.monotonic() > deadline:
            raise UserError(
                "Prefect's embedded server did not start; run `brmrs doctor`, or start a server "
                "with `brmrs up` and see its log"
            )
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether a Prefect server answers at this API address."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=0.5) as response:
            return bool(response.status == 200)
    except (OSError, ValueError, HTTPException):  # nobody, no address, or no HTTP server
        return False


def _end_with_parent() -> None:
    sys.stdin.read()  # until the parent's end of the pipe is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_STOP)
    os._exit(0)


def main() -> None:
    """Serve on the port given as the argument."""
    import uvicorn

    threading.Thread(target=_end_with_parent, daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host=HOST,
        port=int(sys.argv[1]),
        log_level="error",
    )


if __name__ == "__main__":
    main()
