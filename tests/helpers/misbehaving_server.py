"""A real HTTP server that misbehaves in every way the web does, and logs what reached it."""

import gzip
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
from pictures import GOOD, NO_IMAGE, bomb, encoded, jpeg, photo, rotated_jpeg
from PIL import Image

from brmrs.config.data import ImagesConfig
from brmrs.images import fetch
from brmrs.images.decode import Status

PHOTO = encoded(photo(size=(160, 120)), "JPEG")
KINDS = [
    *((data, Status.OK) for data, _ in GOOD.values()),
    (rotated_jpeg(), Status.OK),
    *((data, Status.NOT_AN_IMAGE) for data in NO_IMAGE.values()),
]


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
    "busy-beyond-time": Status.OK,
    "redirect-and-never-end": Status.OK,
    "absent": Status.HTTP_ERROR,
    "gone": Status.HTTP_ERROR,
    "no-content": Status.HTTP_ERROR,
    "broken": Status.BUSY,
    "busy-for-hours": Status.BUSY,
    "loop": Status.HTTP_ERROR,
    "redirect-nowhere": Status.HTTP_ERROR,
    "redirect-file": Status.REFUSED,
    "redirect-bad": Status.REFUSED,
    "redirect-no-idna": Status.REFUSED,
    "html": Status.NOT_AN_IMAGE,
    "zero": Status.NOT_AN_IMAGE,
    "liar": Status.NOT_AN_IMAGE,
    "gzip-bomb": Status.NOT_AN_IMAGE,
    "cut": Status.TRUNCATED,
    "cut-chunks": Status.TRUNCATED,
    "half": Status.TRUNCATED,
    "large": Status.TOO_LARGE,
    "endless": Status.TOO_LARGE,
    "endless-without-length": Status.TOO_LARGE,
    "bomb": Status.TOO_LARGE,
    "drip": Status.UNREACHABLE,
    "drip-headers": Status.UNREACHABLE,
    "early-hints": Status.UNREACHABLE,
    "endless-headers": Status.UNREACHABLE,
    "split-header": Status.UNREACHABLE,
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

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        self.log: list[str] = []
        self.times: list[float] = []
        self.headers: list[Message] = []
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
            server.headers.append(self.headers)
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
        self.start(status, **{"Content_Length": str(len(body)), **headers})
        self.wfile.write(body)

    def start(self, status: int, **headers: str) -> None:
        """An answer up to its body."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def times_asked(self) -> int:
        return self.server.log.count(self.path)

    def absent(self) -> None:
        self.answer(404, b"no")

    def photo(self) -> None:
        self.answer(200, PHOTO, Content_Type="text/html")  # the type is never trusted

    def kind(self) -> None:
        """A picture, or what is none, by its place among the kinds of `pictures`."""
        data, _ = KINDS[int(self.path.rpartition("/")[2])]
        self.answer(200, data, Content_Type="image/jpeg")

    def few_pixels(self) -> None:
        """The transparent GIF that Amazon's servers give for pictures they do not have."""
        self.answer(200, encoded(Image.new("P", (1, 1)), "GIF"))

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

    def busy(self) -> None:
        self.answer(429)

    def busy_for_a_second(self) -> None:
        self.answer(429, Retry_After="1")

    def thumbnail_alone(self) -> None:
        """There is no full size of it."""
        self.photo() if "._SS40_." in self.path else self.absent()

    def busy_for_hours(self) -> None:
        self.answer(429, Retry_After="36000")

    def busy_nonsense(self) -> None:
        self.photo() if self.times_asked() > 1 else self.answer(503, Retry_After="soon\xb2")

    def busy_beyond_time(self) -> None:
        never = "Mon, 01 Jan 99999999999 00:00:00 GMT"
        self.photo() if self.times_asked() > 1 else self.answer(429, Retry_After=never)

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

    def cut_chunks(self) -> None:
        self.start(200, Transfer_Encoding="chunked")
        self.wfile.write(b"10\r\n" + PHOTO[:16] + b"\r\n10\r\n" + PHOTO[16:20])
        self.close_connection = True

    def large(self) -> None:
        self.answer(200, PHOTO + bytes(200_000))

    def endless(self) -> None:
        self.start(200, Transfer_Encoding="chunked")
        for _ in itertools.count():
            self.wfile.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")

    def endless_without_length(self) -> None:
        self.start(200, Connection="close")
        for _ in itertools.count():
            self.wfile.write(bytes(0x4000))

    def endless_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for n in itertools.count():
            self.wfile.write(b"X-%d: " % n + b"x" * 1000 + b"\r\n")

    def drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.stopping.wait(0.05):
            self.wfile.write(b"X: y\r\n")

    def early_hints(self) -> None:
        """Always on the point of answering."""
        while not self.server.stopping.wait(0.05):
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    def split_header(self) -> None:
        """A header that would become two for who passes it on."""
        self.answer(302, Location="/photo\rX-Forged: yes")

    def gzip_bomb(self) -> None:
        """Packed, though nobody asked for that: 10 kB that would become 10 MB."""
        self.answer(200, gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")

    def liar(self) -> None:
        """Promises four bytes and sends many, on a connection that then closes."""
        self.start(200, Content_Length="4")
        self.wfile.write(PHOTO)
        self.close_connection = True

    def drip(self) -> None:
        self.start(200, Content_Length=str(len(PHOTO)))
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

    def redirect_and_never_end(self) -> None:
        self.start(302, Location="/photo", Transfer_Encoding="chunked")
        for _ in itertools.count():
            self.wfile.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")

    def redirect_no_idna(self) -> None:
        self.answer(302, Location="http://xn--/photo")

    def loop(self) -> None:
        self.answer(302, Location=self.path)

    def redirect_file(self) -> None:
        self.answer(302, Location="file:///etc/passwd")

    def redirect_nowhere(self) -> None:
        self.answer(302)

    def redirect_bad(self) -> None:
        self.answer(302, Location="http://[::1")
