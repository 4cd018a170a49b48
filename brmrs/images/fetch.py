"""Fetch pictures from untrusted servers: bounded in bytes, time, requests and redirects."""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import httpcore
import httpx

from brmrs.config.data import ImagesConfig
from brmrs.images.addresses import GuardedBackend, RefusedError
from brmrs.images.amazon import is_placeholder
from brmrs.images.decode import Status

LOG = logging.getLogger(__name__)
HEADERS: dict[str | bytes, str | bytes] = {
    "User-Agent": "brmrs/0.1 (research; recommender systems)",
    "Accept": "image/jpeg, image/png, image/webp, image/*;q=0.8",
    "Accept-Encoding": "identity",  # no unpacking, so the limit on bytes holds
}
MAX_REDIRECTS = 5
BACKOFF = 0.5  # seconds before the second try; doubled each time
MAX_WAIT = 60.0  # seconds; a host with a longer Retry-After is given up
GIVE_UP_AFTER = 8  # faults of one host in a row: no connection, no answer in time, 429, 5xx
EXAMPLES = 3  # hosts named in a log line
CONNECT_TIMEOUT = 10.0  # seconds
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class Answer:
    """The answer of one address.

    Attributes:
        status: OK if all bytes arrived; whether they are an image is not known yet.
        data: the bytes, if OK.
        final: whether the next run would get the same answer.
        wait: seconds before another try; None if this run makes no other.
    """

    status: Status
    data: bytes = b""
    final: bool = True
    wait: float | None = None


@dataclass
class _Host:
    """The state of one scheme, host and port.

    Attributes:
        slots: held during a request.
        faults: in a row, see `GIVE_UP_AFTER`.
        resume_at: time of the event loop until which the host must not get a request.
        given_up: the status of all its remaining addresses once the host is given up; else None.
    """

    slots: asyncio.Semaphore
    faults: int = 0
    resume_at: float = 0.0
    given_up: Status | None = None

    def fault(self, status: Status) -> None:
        """Count a fault; the last one of too many gives the host up."""
        self.faults += 1
        if self.faults >= GIVE_UP_AFTER:
            self.given_up = status


@dataclass
class Fetcher:
    """Fetches addresses within the limits of the configuration; use it with `async with`.

    Only http and https; no proxies, credentials or cookies from the environment. `GuardedBackend`
    makes every connection, also after a redirect.
    """

    config: ImagesConfig
    _hosts: dict[tuple[str, str, int | None], _Host] = field(default_factory=dict)
    _next_turn: float = 0.0  # time of the event loop
    _waiting_until: float = 0.0  # time of the event loop until which some host must wait
    _waited: float = 0.0  # seconds during which at least one host had to wait

    async def __aenter__(self) -> Self:
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=self.config.concurrency,
            keepalive_expiry=5.0,
            network_backend=GuardedBackend(self.config.allow_private),
        )
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._pool.__aexit__(kind, error, traceback)

    async def fetch(self, address: str) -> Answer:
        """Fetch one address, with further tries after transient faults. Web faults never raise."""
        for attempt in range(self.config.retries):
            answer = await self._follow(address)
            if answer.wait is None:
                return answer
            await asyncio.sleep(max(answer.wait, BACKOFF * 2**attempt))
        return await self._follow(address)

    async def _follow(self, address: str) -> Answer:
        """One try, through its redirects."""
        url = _parse(address)
        budget = self.config.timeout
        for _ in range(MAX_REDIRECTS + 1):
            if url is None:
                return Answer(Status.REFUSED)
            host = self._host(url)
            async with host.slots:
                loop = asyncio.get_running_loop()
                await asyncio.sleep(max(0.0, host.resume_at - loop.time()))
                if host.given_up:
                    return Answer(host.given_up, final=False)
                await self._turn()
                started = loop.time()
                answer = await self._hop(url, host, budget)
                budget -= loop.time() - started
            if isinstance(answer, Answer):
                return replace(answer, wait=None) if host.given_up else answer
            url = _parse(answer, base=url)
            if url is not None and is_placeholder(str(url)):
                return Answer(Status.PLACEHOLDER)
        return Answer(Status.HTTP_ERROR)

    async def _turn(self) -> None:
        """Wait until the configured rate allows one more request."""
        now = asyncio.get_running_loop().time()
        mine = max(now, self._next_turn)
        self._next_turn = mine + 1 / self.config.rate
        await asyncio.sleep(mine - now)

    async def _hop(self, url: httpx.URL, host: _Host, seconds: float) -> Answer | str:
        """One request: its answer, or the address that it redirects to."""
        try:
            async with asyncio.timeout(seconds):
                answer = await self._request(url)
        except RefusedError:
            return Answer(Status.REFUSED)
        except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout):
            host.fault(Status.UNREACHABLE)
            return Answer(Status.UNREACHABLE, final=False)
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            host.fault(Status.UNREACHABLE)
            return Answer(Status.UNREACHABLE, final=False, wait=0.0)
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
            return Answer(Status.UNREACHABLE, final=False, wait=0.0)
        if isinstance(answer, Answer) and answer.status == Status.BUSY:
            host.fault(Status.BUSY)
            self._wait_for(host, answer.wait or 0.0)
        else:
            host.faults = 0
        return answer

    def _wait_for(self, host: _Host, seconds: float) -> None:
        """Wait for a host. Give it up if the wait is too long, or if `max_wait` is used up."""
        now = asyncio.get_running_loop().time()
        until = now + seconds
        more = max(0.0, until - max(now, self._waiting_until))
        if seconds > MAX_WAIT or self._waited + more > self.config.max_wait:
            host.given_up = Status.BUSY
            return
        self._waited += more
        self._waiting_until = max(self._waiting_until, until)
        host.resume_at = max(host.resume_at, until)

    def report(self) -> None:
        """Log the hosts that were given up, and the seconds that hosts were waited for."""
        gone = [(name[1], host.given_up) for name, host in self._hosts.items() if host.given_up]
        if gone:
            LOG.warning(
                "images: %d hosts were given up in this run: %s",
                len(gone),
                ", ".join(f"{name} ({status})" for name, status in sorted(gone)[:EXAMPLES]),
            )
        if self._waited:
            LOG.info(
                "images: waited %.0f s for hosts that asked for it, of %.0f (images.max_wait)",
                self._waited,
                self.config.max_wait,
            )

    async def _request(self, url: httpx.URL) -> Answer | str:
        timeout = {"connect": min(CONNECT_TIMEOUT, self.config.timeout)}
        async with self._pool.stream(
            "GET", str(url), headers=HEADERS, extensions={"timeout": timeout}
        ) as response:
            headers = httpx.Headers(response.headers)
            if response.status in _REDIRECTS and "location" in headers:
                return headers["location"]
            if response.status == 429 or response.status >= 500:
                wait = _seconds(headers.get("retry-after", ""))
                return Answer(Status.BUSY, final=False, wait=wait)
            if response.status != 200:
                return Answer(Status.HTTP_ERROR)
            return await self._body(response)

    async def _body(self, response: httpcore.Response) -> Answer:
        """Read at most `max_bytes`, independent of the announced length."""
        data = bytearray()
        try:
            async for chunk in response.aiter_stream():
                data += chunk
                if len(data) > self.config.max_bytes:
                    return Answer(Status.TOO_LARGE)
        except (httpcore.NetworkError, httpcore.ProtocolError):
            return Answer(Status.TRUNCATED, final=False, wait=0.0)
        return Answer(Status.OK, bytes(data))

    def _host(self, url: httpx.URL) -> _Host:
        name = (url.scheme, url.host, url.port)
        if name not in self._hosts:
            self._hosts[name] = _Host(asyncio.Semaphore(self.config.per_host))
        return self._hosts[name]


def _parse(address: str, base: httpx.URL | None = None) -> httpx.URL | None:
    """An absolute http(s) address; None if it is not one."""
    try:
        url = httpx.URL(address.strip())
        url = base.join(url) if base else url
        httpcore.URL(str(url))  # stricter: checks the port, and that all is ASCII
        usable = url.scheme in ("http", "https") and url.host  # raises for invalid IDNA
    except (httpx.InvalidURL, ValueError, TypeError):
        return None
    return url if usable else None


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After header: a number, or a date; 0 if it is neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
