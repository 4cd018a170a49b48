"""A Prefect server for the duration of one run: a child process that ends with its parent.

Prefect's own temporary server is loaded in both processes, one after the other, and survives a
killed parent. This one starts while the parent still imports. It watches a pipe that the parent
holds open and that closes when the parent ends in any way.
"""

import socket
import subprocess
import tempfile
from typing import IO

from brmrs.errors import UserError
from flows.server import secret, serve
from flows.server.settings import FolderSettings

REASON_BYTES = 2000


class EmbeddedServer:
    """A server that is starting.

    Attributes:
        url: the address of its API.
        auth: its secret.
    """

    def __init__(self, settings: FolderSettings):
        """Start it. It ends after this process: Prefect sends it logs and events at the very end.

        Raises:
            UserError: Prefect's folder cannot be written, or belongs to another user.
        """
        secret.private_folder(settings.home)
        with socket.socket() as probe:
            probe.bind((serve.HOST, 0))
            port: int = probe.getsockname()[1]
        self.auth = secret.new()
        self.url = f"http://{serve.HOST}:{port}/api"
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the server
        self._process = subprocess.Popen(
            serve.command(port, end_with_parent=True),
            stdin=subprocess.PIPE,  # open until this process ends
            stderr=self._errors,
            env={
                **serve.environment(port, self.auth, settings.home),
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
            },
            umask=secret.UMASK,
            start_new_session=True,  # Ctrl-C reaches only the run, which still reports its end
        )

    def wait_until_healthy(self) -> None:
        """Return as soon as the server answers.

        Raises:
            UserError: it ended, or does not answer in time.
        """
        if not serve.wait_until_healthy(self.url, self.auth, self._ended):
            raise UserError(f"Prefect's embedded server did not start: {self._reason()}")

    def _ended(self) -> bool:
        return self._process.poll() is not None

    def _reason(self) -> str:
        """The last line that it wrote about an error, else its last line."""
        self._errors.seek(max(0, self._errors.tell() - REASON_BYTES))
        lines = self._errors.read().decode(errors="replace").split("\n")
        written = [line.strip() for line in lines if line.strip()]
        errors = [line for line in written if "Error: " in line or "Error) " in line]
        found = errors or written
        return found[-1] if found else f"no answer within {serve.SECONDS_TO_START:g} s"


_servers: list[EmbeddedServer] = []  # keeps the pipes open until this process ends


def start(settings: FolderSettings) -> EmbeddedServer:
    """Start a server that lives as long as this process.

    Raises:
        UserError: see `EmbeddedServer`.
    """
    server = EmbeddedServer(settings)
    _servers.append(server)
    return server
