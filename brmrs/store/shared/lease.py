"""A lock at a shared address: one object per lock, which its holder rewrites every few seconds.

The objects of a lock are `locks/<name>/<number>`; the holder of the highest number has the lock. An
object is created only if there is none of its number, so one of several candidates succeeds. A
candidate that sees the holder's object unchanged for `LEASE` seconds creates the next number. It
measures this time itself: clocks of machines are never compared.

A holder that was only slow continues without the lock. Then a stage may run twice; both results are
valid, and the first record stays.
"""

import json
import logging
import platform
import threading
import time
import uuid
from contextvars import copy_context

from brmrs.store.shared.address import Address, UnreachableError

LOG = logging.getLogger(__name__)
LEASE = 20.0  # seconds without a beat, after which another machine takes the lock over
BEATS = 5  # in this time
POLL = 2.0  # seconds between two looks of a candidate
MOST = 2000  # bytes of a lock's object


class Lease:
    """One lock, of one candidate or holder.

    Args:
        address: where the lock is.
        name: such as "ingest/KEY".
        who: description of the holder, shown to those who wait.
    """

    def __init__(self, address: Address, name: str, who: str) -> None:
        self._address, self._folder = address, f"locks/{name}"
        self._who = f"{who} on {platform.node()}"
        self._token, self._beat, self._number = uuid.uuid4().hex, 0, 0
        self._seen: tuple[int, bytes] | None = None
        self._since = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = False

    def acquire(self) -> bool:
        """Try once to get the lock; call again after `POLL` seconds.

        Raises:
            UnreachableError: the address failed.
        """
        numbers = self._numbers()
        newest = numbers[-1] if numbers else 0
        if newest and not self._stale(newest):
            return False
        if not self._address.create(f"{self._folder}/{newest + 1}", self._content()):
            return False
        self._number = newest + 1
        for number in numbers:
            self._address.remove(f"{self._folder}/{number}")
        keep = copy_context().run  # so that its log belongs to the same run
        self._thread = threading.Thread(target=keep, args=[self._keep], name="lease", daemon=True)
        self._thread.start()
        return True

    @property
    def holder(self) -> str:
        """Who has the lock, as far as `acquire` has seen; empty if it has seen nobody."""
        if self._seen is None:
            return ""
        try:
            return str(json.loads(self._seen[1])["holder"])[:200]
        except (ValueError, KeyError, TypeError):
            return "another machine"

    def release(self) -> None:
        """Give the lock back. If the address fails, others take it over after `LEASE` seconds."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        try:
            self._address.remove(f"{self._folder}/{self._number}")
        except UnreachableError as error:
            LOG.warning("%s; a lock stays there for %.0f s", error, LEASE)

    def _stale(self, number: int) -> bool:
        """Whether the holder's object did not change for `LEASE` seconds while we looked."""
        try:
            content = self._address.read(f"{self._folder}/{number}", MOST)
        except ValueError:
            content = b"not a lock"
        if content is None:  # just released; the next try finds no number
            return False
        now = time.monotonic()
        if self._seen != (number, content):
            self._seen, self._since = (number, content), now
            return False
        if now - self._since < LEASE:
            return False
        LOG.warning(
            "%s: no sign of %s for %.0f s; its lock is taken over",
            self._address.name,
            self.holder,
            LEASE,
        )
        return True

    def _numbers(self) -> list[int]:
        names = self._address.sizes(self._folder)
        return sorted(int(name) for name in names if name.isdecimal() and len(name) < 10)

    def _content(self) -> bytes:
        self._beat += 1
        found = {"holder": self._who, "token": self._token, "beat": self._beat}
        return json.dumps(found).encode()

    def _keep(self) -> None:
        """Rewrite the object until the lock is released or lost."""
        failed = False
        while not self._ended.wait(LEASE / BEATS):
            try:
                if self._numbers()[-1:] > [self._number]:
                    LOG.warning("%s: another machine took over a lock", self._address.name)
                    self.lost = True
                    return
                self._address.put(f"{self._folder}/{self._number}", self._content())
                failed = False
            except UnreachableError as error:
                if not failed:
                    LOG.warning("%s; a lock there cannot be renewed", error)
                failed = True
