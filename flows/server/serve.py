"""The process of a Prefect server: Prefect's own application behind a check of the Host header.

Prefect has settings for authentication and CORS, but none for the names under which it may be
called. Without the check, a web page whose name resolves to this machine would have the same origin
as the server (DNS rebinding).
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from brmrs.store import locks
from flows.server.recognise import Who, who_answers

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
HOSTS = [HOST, "localhost"]
SECONDS_TO_START = 90.0
SECONDS_TO_STOP = 5.0
END_WITH_PARENT = "--end-with-parent"


def environment(port: int, auth: str, home: Path) -> dict[str, str]:
    """The environment of the server's process, with authentication by the secret."""
    return {
        **os.environ,
        "PREFECT_HOME": str(home.resolve()),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_API_AUTH_STRING": auth,
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_UI_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{name}:{port}" for name in HOSTS),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # `migrate` does it, under a lock
        "DO_NOT_TRACK": "1",
    }


def command(port: int, *, end_with_parent: bool) -> list[str]:
    """The command that starts the server's process."""
    words = [sys.executable, "-m", "flows.server.serve", str(port)]
    return [*words, END_WITH_PARENT] if end_with_parent else words


def wait_until_healthy(url: str, auth: str, ended: Callable[[], bool]) -> bool:
    """Wait until our server answers.

    Args:
        url: of its API.
        auth: its secret.
        ended: whether its process has ended.

    Returns:
        False if it ended, or did not answer within `SECONDS_TO_START`.
    """
    deadline = time.monotonic() + SECONDS_TO_START
    while who_answers(url, auth) is not Who.OURS:
        if ended() or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _end_with_parent() -> None:
    sys.stdin.read()  # until the parent's end of the pipe is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_STOP)
    os._exit(0)


def application() -> "ASGIApp":
    """Prefect's server; requests from outside must name one of `HOSTS`."""
    from fastapi.middleware.trustedhost import TrustedHostMiddleware
    from prefect.server.api.server import create_app

    # Around the application, not in it: Prefect's automations call it within the process, under
    # the host name prefect-in-memory.
    return TrustedHostMiddleware(create_app(final=True), allowed_hosts=HOSTS, www_redirect=False)


def migrate(home: Path) -> None:
    """Create or update the database. Two servers that do it at once break each other's steps."""
    from prefect.server.database import provide_database_interface

    with locks.exclusive(home / "migration.lock"):
        asyncio.run(provide_database_interface().create_db())


def main() -> None:
    """Serve on the port given as the argument."""
    import uvicorn
    from prefect.settings import get_current_settings

    if END_WITH_PARENT in sys.argv:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    migrate(get_current_settings().home)
    level = get_current_settings().server.logging_level.lower()
    uvicorn.run(application(), host=HOST, port=int(sys.argv[1]), log_level=level)


if __name__ == "__main__":
    main()
