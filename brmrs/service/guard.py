"""What every request passes before it is answered: host, token, limits; and what every answer gets.

Plain ASGI, because a middleware of Starlette's base class doubles the time of a request.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brmrs.service.access import Access
from brmrs.service.limits import BODY_SECONDS, MOST_BODY, MOST_WAITING
from brmrs.service.metrics import OTHER, Counters

LOG = logging.getLogger(__name__)

# The page loads nothing from elsewhere, runs no inline script, and is shown in no frame.
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
# Answers hold personal data. Pictures and the page set their own.
NO_STORE = (b"cache-control", b"no-store")
OPEN = ("/healthz", "/", "/openapi.json")  # without the token, as is the page
OPEN_FOLDER = "/page/"


class Guard:
    """Middleware around the application.

    Attributes:
        waiting: requests in work.
    """

    def __init__(self, app: ASGIApp, access: Access, counters: Callable[[], Counters]):
        self.app = app
        self.access = access
        self.counters = counters
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, started = time.perf_counter(), 500, False
        # Every GET endpoint answers HEAD: the same headers without the body.
        head = scope["method"] == "HEAD"
        if head:
            scope = {**scope, "method": "GET"}

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = _with_headers(message.get("headers", []))
            elif head:
                message = {**message, "body": b""}
            await send(message)

        self.waiting += 1
        try:
            await self._checked(scope, receive, answer)
        except Exception:  # a fault of the service: one answer, and the log has the details
            LOG.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                await _refuse(answer, 500, "internal error; the log of the service has the details")
        finally:
            self.waiting -= 1
            name = getattr(scope.get("endpoint"), "__name__", OTHER)
            self.counters().add(name, status, time.perf_counter() - start)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        refused = self._refusal(scope, headers)
        body = None
        if refused is None and scope["method"] == "POST":
            refused, body = await _read_body(headers, receive)
        if refused is not None:
            await _refuse(send, *refused)
            return
        await self.app(scope, receive if body is None else _replay(body, receive), send)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Status and message if the request is refused by its headers."""
        host, authorization, cookies = (
            headers.get(name, b"").decode("latin-1")
            for name in (b"host", b"authorization", b"cookie")
        )
        if not self.access.knows_host(host):
            return 421, "the Host header names another host; see --allow-host"
        path = scope["path"]
        is_open = path in OPEN or path.startswith(OPEN_FOLDER)
        if not is_open and not self.access.admits(authorization, cookies):
            return 401, "send the service's token: Authorization: Bearer TOKEN"
        if self.waiting > MOST_WAITING:
            return 503, "too many requests at once; try again"
        return None


def _with_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    caching = any(name == b"cache-control" for name, _ in headers)
    return [*headers, *HEADERS] if caching else [*headers, *HEADERS, NO_STORE]


async def _read_body(
    headers: dict[bytes, bytes], receive: Receive
) -> tuple[tuple[int, str] | None, bytes]:
    """The whole body, or the reason to refuse it."""
    too_large = 413, f"the body has more than {MOST_BODY} bytes"
    if int(headers.get(b"content-length", b"0") or 0) > MOST_BODY:
        return too_large, b""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > MOST_BODY:
                    return too_large, b""
                if not message.get("more_body", False):
                    return None, bytes(body)
    except TimeoutError:
        return (408, f"the body did not arrive within {BODY_SECONDS:.0f} seconds"), b""


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, then the messages of the server."""
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once


async def _refuse(send: Send, status: int, message: str) -> None:
    body = orjson.dumps({"error": message})
    headers: list[tuple[bytes, Any]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
