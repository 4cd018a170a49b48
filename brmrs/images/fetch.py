"""Fetches pictures from the open web: bounded, patient, and safe against what may be out there."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import httpcore
import httpx

from brmrs.config.pipeline import ImagesConfig
from brmrs.images.addresses import GuardedBackend, RefusedError
from brmrs.images.decode import Status

HEADERS: dict[str | bytes, str | bytes] = {
    "User-Agent": "brmrs/0.1 (research; recommender systems)",
    "Accept": "image/jpeg, image/png, image/webp, image/*;q=0.8",
    "Accept-Encoding": "identity",  # so that the limit on bytes holds for what is unpacked, too
}
MAX_REDIRECTS = 5
BACKOFF = 0.5  # seconds before the second try; doubled each time
MAX_WAIT = 60.0  # seconds; a server that asks for more patience is not asked again
GIVE_UP_AFTER = 8  # faults of one host in a row: no connection, no answer in time, "too many"
CONNECT_TIMEOUT = 10.0  # seconds
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class Answer:
    """What came of one address.

    Attributes:
        status: OK says that all bytes came, not that they are an image.
        data: the bytes, if OK.
        final: whether it will be so the next time, too.
        wait: seconds before another try makes sense, if it makes any.
    """

    status: Status
    data: bytes = b""
    final: bool = True
    wait: float | None = None


@dataclass
class _Host:
    """What is known of one host and port.

    Attributes:
        slots: held during a request.
        faults: see `GIVE_UP_AFTER`.
        resume_at: time of the loop before which it wants no request.
    """

    slots: asyncio.Semaphore
    faults: int = 0
    resume_at: float = 0.0


@dataclass
class Fetcher:
    """Fetches addresses within the limits of the configuration; use it with `async with`.

    Only http and https; no proxies, credentials or cookies, whatever the environment holds; each
    connection, also one after a redirect, passes `GuardedBackend`.
    """

    config: ImagesConfig
    _hosts: dict[tuple[str, str, int | None], _Host] = field(default_factory=dict)
    _next_turn: float = 0.0  # time of the loop

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
        """Fetch one address, trying again where the fault may pass. Never raises for the web."""
        for attempt in range(self.config.retries):
            answer = await self._follow(address)
            if answer.wait is None or answer.wait > MAX_WAIT:
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
                if host.faults >= GIVE_UP_AFTER:
                    return Answer(Status.UNREACHABLE, final=False)
                loop = asyncio.get_running_loop()
                await asyncio.sleep(max(0.0, host.resume_at - loop.time()))
                await self._turn()
                started = loop.time()
                answer = await self._hop(url, host, budget)
                budget -= loop.time() - started
            if isinstance(answer, Answer):
                return answer
            url = _parse(answer, base=url)
        return Answer(Status.HTTP_ERROR)

    async def _turn(self) -> None:
        """Wait until the global rate allows one more request."""
        now = asyncio.get_running_loop().time()
        mine = max(now, self._next_turn)
        self._next_turn = mine + 1 / self.config.rate
        await asyncio.sleep(mine - now)

    async def _hop(self, url: httpx.URL, host: _Host, seconds: float) -> Answer | str:
        """One request: its answer, or where it redirects to."""
        try:
            async with asyncio.timeout(seconds):
                answer = await self._request(url)
        except RefusedError:
            return Answer(Status.REFUSED)
        except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout):
            host.faults += 1
            return Answer(Status.UNREACHABLE, final=False)
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            host.faults += 1
            return Answer(Status.UNREACHABLE, final=False, wait=0.0)
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
            return Answer(Status.UNREACHABLE, final=False, wait=0.0)
        if isinstance(answer, Answer) and answer.wait:  # the host asks for patience
            host.faults += 1
            now = asyncio.get_running_loop().time()
            host.resume_at = max(host.resume_at, now + min(answer.wait, MAX_WAIT))
        else:
            host.faults = 0
        return answer

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
        """Read at most `max_bytes`, whatever length the server promised."""
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
    """An absolute http(s) address, or None where it is none."""
    try:
        url = httpx.URL(address.strip())
        url = base.join(url) if base else url
        httpcore.URL(str(url))  # stricter: checks the port, and that all is ASCII
        usable = url.scheme in ("http", "https") and url.host  # raises where it is no IDNA
    except (httpx.InvalidURL, ValueError, TypeError):
        return None
    return url if usable else None


def _seconds(retry_after: str) -> float:
    """Seconds that a Retry-After header asks for: a number, or a date; 0 where it is neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
