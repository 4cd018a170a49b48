"""File locks of a store. They are `flock` locks, so they end with the process that holds them."""

import contextlib
import errno
import fcntl
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from brmrs.errors import UserError, os_fault
from brmrs.system.files import open_appended

LOG = logging.getLogger(__name__)
_HOLDER_BYTES = 400  # bytes read of a lock file, to name the holder


class UnderWayError(UserError):
    """Another process is writing to the store."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock; waits for another process or thread that has it.

    Raises:
        UserError: the file system gives no locks, or the file cannot be opened.
    """
    with _opened(path) as file:
        _flock(path, file, fcntl.LOCK_EX)
        yield


@contextmanager
def single(path: Path, who: str, *, wait: bool) -> Iterator[None]:
    """Hold a lock whose file names the holder.

    Args:
        path: the file.
        who: description of the holder, shown to those who wait.
        wait: wait for another holder to end, instead of raising.

    Raises:
        UnderWayError: another process holds it.
        UserError: as for `exclusive`.
    """
    with _opened(path) as file:
        try:
            _flock(path, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(file)
            if not wait:
                raise UnderWayError(
                    f"{holder} is under way in {path.parents[1]}; stop it or wait until it ends"
                ) from error
            LOG.info("waiting for %s to end", holder)
            _flock(path, file, fcntl.LOCK_EX)
        _name_holder(file, who)
        yield


def _name_holder(file: IO[bytes], who: str) -> None:
    """Write who holds the lock. On a full disk this fails, and `gc` must still work."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    text = f"{who} (process {os.getpid()} on {platform.node()}, since {since} UTC)"
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), text.encode())


def _holder(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_HOLDER_BYTES).decode(errors="replace") or "another process"


def _opened(path: Path) -> IO[bytes]:
    """Open a lock file.

    Raises:
        UserError: it is a link, a pipe, a device, or another name (hard link) of some other file.
    """
    try:
        return open_appended(path)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EINVAL):
            raise
        raise UserError(f"{path}: no lock file of brmrs; remove it") from error


def _flock(path: Path, file: IO[bytes], operation: int) -> None:
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        raise
    except OSError as error:
        fault = os_fault(error)
        if fault is None:
            raise
        raise UserError(f"{path}: {fault}") from error
