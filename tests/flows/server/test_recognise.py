"""Which programs count as our Prefect server, and which of them see the secret."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from flows.server.recognise import Who, who_answers

AUTH = "brmrs:secret"
SENT = "Basic YnJtcnM6c2VjcmV0"
Answer = Callable[[str, str | None], tuple[int, str]]


@contextmanager
def program(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """A program that answers (status, body) to (path, secret); its API, the secrets it saw."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            seen.extend([given] if given else [])
            status, body = answer(self.path, given)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api", seen
    server.shutdown()
    server.server_close()


def prefect(path: str, given: str | None) -> tuple[int, str]:
    """As Prefect's server with the secret answers."""
    if path == "/api/health":
        return 200, "true"
    return (200, '"3.8.8"') if given == SENT else (401, '{"exception_message":"Unauthorized"}')


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (prefect, Who.OURS),
        (lambda path, given: prefect(path, None), Who.ANOTHER_FOLDER),
        (lambda path, given: (200, "<html>welcome</html>"), Who.ANOTHER_PROGRAM),
        (lambda path, given: (200, ""), Who.ANOTHER_PROGRAM),
        (lambda path, given: (200, '{"status": "ok"}'), Who.ANOTHER_PROGRAM),
        (lambda path, given: (200, "1"), Who.ANOTHER_PROGRAM),
        (lambda path, given: (200, "true"), Who.ANOTHER_PROGRAM),
        (lambda path, given: (401, "who are you?"), Who.ANOTHER_PROGRAM),
        (lambda path, given: (404, "not found"), Who.ANOTHER_PROGRAM),
        (lambda path, given: (500, "\ud7ff" * 5000), Who.ANOTHER_PROGRAM),
    ],
    ids=["ours", "another secret", "page", "empty", "JSON", "one", "true", "401", "404", "500"],
)
def test_a_server_is_recognised_by_its_answers(answer: Answer, found: Who) -> None:
    with program(answer) as (url, seen):
        assert who_answers(url, AUTH) is found
        if found is Who.ANOTHER_PROGRAM and answer("/api/health", None)[1] != "true":
            assert not seen, "the secret went to a program that is not Prefect"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api", "nonsense", "http://", "file:///etc"])
def test_nobody_answers(url: str) -> None:
    assert who_answers(url, AUTH) in (Who.NOBODY, Who.ANOTHER_PROGRAM)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names the owner of a socket")
def test_another_user_s_program_never_sees_the_secret() -> None:
    code = """
import os, socket
os.setgid(12345); os.setuid(12345)
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    client, _ = server.accept()
    request = client.recv(10000)
    print("SECRET" if b"Authorization" in request else "request", flush=True)
    client.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\n\\r\\ntrue")
    client.close()
"""
    squatter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert squatter.stdout is not None
    port = int(squatter.stdout.readline())
    try:
        assert who_answers(f"http://127.0.0.1:{port}/api", AUTH) is Who.ANOTHER_USER
        assert who_answers(f"http://localhost:{port}/api", AUTH) is Who.ANOTHER_USER
    finally:
        squatter.kill()
    assert squatter.stdout.read().split() == ["request", "request"]
