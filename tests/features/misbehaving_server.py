"""A real HTTP server that misbehaves in every way the web does, and logs what reached it."""

import itertools
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
from pictures import GOOD, NO_IMAGE, bomb, encoded, jpeg, photo

from brmrs.config import ImagesConfig
from brmrs.features import fetch
from brmrs.features.decode import Status

PHOTO = encoded(photo(size=(160, 120)), "JPEG")
KINDS = [data for data, _ in GOOD.values()] + list(NO_IMAGE.values())


def config(**changes: object) -> ImagesConfig:
    """Small limits, so that tests reach them soon."""
    small = {"allow_private": True, "timeout": 1.0, "max_bytes": 200_000, "max_pixels": 1_000_000}
    return ImagesConfig.model_validate(small | changes)


# What comes of each path below.
STATUSES = {
    "photo": Status.OK,
    "redirect": Status.OK,
    "broken-once": Status.OK,
    "busy-once": Status.OK,
    "busy-nonsense": Status.OK,
    "absent": Status.HTTP_ERROR,
    "gone": Status.HTTP_ERROR,
    "no-content": Status.HTTP_ERROR,
    "broken": Status.BUSY,
    "busy-for-hours": Status.BUSY,
    "loop": Status.HTTP_ERROR,
    "redirect-nowhere": Status.HTTP_ERROR,
    "redirect-file": Status.REFUSED,
    "redirect-bad": Status.REFUSED,
    "html": Status.NOT_AN_IMAGE,
    "zero": Status.NOT_AN_IMAGE,
    "liar": Status.NOT_AN_IMAGE,
    "cut": Status.TRUNCATED,
    "half": Status.TRUNCATED,
    "endless": Status.TOO_LARGE,
    "bomb": Status.TOO_LARGE,
    "drip": Status.UNREACHABLE,
    "silence": Status.UNREACHABLE,
    "hang-up": Status.UNREACHABLE,
    "not-http": Status.UNREACHABLE,
}


@pytest.fixture(name="server")
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator["Server"]:
    """A server, and a fetcher that tries again at once."""
    monkeypatch.setattr(fetch, "BACKOFF", 0.02)
    with Server() as running:
        yield running


class Server(ThreadingHTTPServer):
    """Serves on a free port; `log` holds the paths asked for, in order."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.log: list[str] = []
        self.times: list[float] = []
        self.user_agents: set[str] = set()
        self.running = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def url(self, path: str) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/{path}"

    def count(self, path: str) -> int:
        return self.log.count(f"/{path}")

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args: Any) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.log.append(self.path)
            server.times.append(time.monotonic())
            server.user_agents.add(self.headers["User-Agent"])
            server.running += 1
            server.most_at_once = max(server.most_at_once, server.running)
        try:
            name = self.path.lstrip("/").partition("?")[0].partition("/")[0]
            getattr(self, name.replace("-", "_"), self.absent)()
        finally:
            with server.lock:
                server.running -= 1

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def times_asked(self) -> int:
        return self.server.log.count(self.path)

    def absent(self) -> None:
        self.answer(404, b"no")

    def photo(self) -> None:
        self.answer(200, PHOTO, Content_Type="text/html")  # the type is never trusted

    def kind(self) -> None:
        """A picture, or what is none, by its place among the kinds of `pictures`."""
        self.answer(200, KINDS[int(self.path.rpartition("/")[2])], Content_Type="image/jpeg")

    def numbered(self) -> None:
        self.answer(200, jpeg(int(self.path.rpartition("/")[2])))

    def gone(self) -> None:
        self.answer(410)

    def broken_once(self) -> None:
        self.photo() if self.times_asked() > 1 else self.answer(500)

    def broken(self) -> None:
        self.answer(503)

    def busy_once(self) -> None:
        self.photo() if self.times_asked() > 1 else self.answer(429, Retry_After="1")

    def busy_for_hours(self) -> None:
        self.answer(429, Retry_After="36000")

    def busy_nonsense(self) -> None:
        self.photo() if self.times_asked() > 1 else self.answer(503, Retry_After="soon\xb2")

    def html(self) -> None:
        self.answer(200, b"<html>we could not find it</html>", Content_Type="image/jpeg")

    def zero(self) -> None:
        self.answer(200)

    def no_content(self) -> None:
        self.answer(204)

    def cut(self) -> None:
        """Half the bytes, then the connection closes; the length was right."""
        self.answer(200, PHOTO[: len(PHOTO) // 2], Content_Length=str(len(PHOTO)))
        self.close_connection = True

    def half(self) -> None:
        """Half a picture, sent as if it were all."""
        self.answer(200, PHOTO[: len(PHOTO) // 2])

    def endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in itertools.count():
            self.wfile.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")

    def liar(self) -> None:
        """Promises four bytes and sends many, on a connection that then closes."""
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(PHOTO)
        self.close_connection = True

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PHOTO)))
        self.end_headers()
        for byte in PHOTO:
            self.wfile.write(bytes([byte]))
            if self.server.stopping.wait(0.05):
                return

    def silence(self) -> None:
        self.server.stopping.wait(10)

    def hang_up(self) -> None:
        self.close_connection = True

    def not_http(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        self.close_connection = True

    def bomb(self) -> None:
        self.answer(200, bomb())

    def slow(self) -> None:
        time.sleep(0.1)
        self.numbered()

    def redirect(self) -> None:
        self.answer(302, Location="/photo")

    def redirect_far(self) -> None:
        """To whatever the query says."""
        self.answer(301, Location=self.path.partition("?")[2])

    def loop(self) -> None:
        self.answer(302, Location=self.path)

    def redirect_file(self) -> None:
        self.answer(302, Location="file:///etc/passwd")

    def redirect_nowhere(self) -> None:
        self.answer(302)

    def redirect_bad(self) -> None:
        self.answer(302, Location="http://[::1")
