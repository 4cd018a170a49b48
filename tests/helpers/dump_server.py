"""A real HTTP server of one file, that misbehaves on request and logs the ranges asked for."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Answers the n-th request with the n-th of `answers`, the last one from then on.

    Attributes:
        content: of the file.
        etag: of the file.
        answers: what to do.
        ranges: the Range header of every request, None where it had none.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, content: bytes, *answers: Answer, etag: str = '"one"') -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag = content, etag
        self.answers = answers or (whole_or_range,)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.json.gz"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args: Any) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the play."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = len(self.server.ranges)
        self.server.ranges.append(self.headers["Range"])
        answers = self.server.answers
        answers[min(asked, len(answers) - 1)](self)

    def log_message(self, *args: Any) -> None:
        pass

    def start(self) -> int:
        """Where the answer starts: If-Range must hold, else it is the whole file."""
        asked = self.headers["Range"]
        if not asked or self.headers["If-Range"] != self.server.etag:
            return 0
        return int(asked.removeprefix("bytes=").rstrip("-"))

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def whole_or_range(handler: Handler, upto: int | None = None) -> None:
    """The file or the range asked for; with `upto`, cut after that byte of the file."""
    content, start = handler.server.content, handler.start()
    headers = {"ETag": handler.server.etag, "Content_Length": str(len(content) - start)}
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.answer(206 if start else 200, content[start:upto], **headers)
    if upto is not None:
        handler.close_connection = True


def cut_at(byte: int) -> Answer:
    return lambda handler: whole_or_range(handler, byte)


def whole(handler: Handler) -> None:
    """No support for ranges."""
    handler.answer(200, handler.server.content, ETag=handler.server.etag)


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.answer(code, b"no", **headers)


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def other_version(handler: Handler) -> None:
    """The file is another one from now on."""
    handler.server.etag = '"two"'
    whole_or_range(handler)
