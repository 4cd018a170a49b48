"""Objects at a shared address, a folder or a bucket. Every write is atomic.

Both kinds have one operation that a lock needs: an object is created only if there is none of that
name. A bucket does it by a conditional write (`If-None-Match: *`).
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from brmrs.errors import UserError, first_line
from brmrs.system.files import open_regular, replacing, walk
from brmrs.system.untrusted import read_bytes

# Seconds, and tries of each request; a part of a large file takes long on a slow line.
TIMEOUTS = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3}}
TRIES = 2  # of s3fs, around those
PART = 2**24  # bytes of a file that are sent at once
INSTALL = "store.shared: s3:// needs the package s3fs; run pip install 'brmrs[s3]'"


class UnreachableError(Exception):
    """A shared address failed. The message is one line and begins with the address."""


class Address(Protocol):
    """Objects by relative name, such as "records/ingest/KEY.json".

    Every method raises UnreachableError if the address fails, after a limited number of tries.
    """

    name: str

    def read(self, name: str, most: int) -> bytes | None:
        """The content of an object; None if it is missing.

        Raises:
            ValueError: it has more than `most` bytes, or is no regular file.
        """

    def part(self, name: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, exclusive, of an object of at least `end` bytes."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Size in bytes of each object below a prefix, by its name relative to the prefix."""

    def create(self, name: str, data: bytes) -> bool:
        """Create an object; False if there is one of that name."""

    def put(self, name: str, data: bytes) -> None:
        """Write an object, or replace it."""

    def upload(self, name: str, path: Path) -> None:
        """Write a file as an object, or replace it."""

    def remove(self, name: str) -> None:
        """Remove an object; a missing one is no error."""


@contextmanager
def _faults(address: str, *expected: type[Exception]) -> Iterator[None]:
    """Turn errors into UnreachableError, but for the expected ones."""
    try:
        yield
    except expected:
        raise
    except Exception as error:  # the errors of s3fs, botocore and aiohttp have no common class
        raise UnreachableError(f"{address}: {first_line(error)}") from error


class Folder:
    """A folder, such as a network mount."""

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root

    def read(self, name: str, most: int) -> bytes | None:
        """See `Address.read`."""
        try:
            with _faults(self.name, FileNotFoundError, ValueError):
                return read_bytes(self._root / name, most)
        except FileNotFoundError:
            return None

    def part(self, name: str, start: int, end: int) -> bytes:
        """See `Address.part`."""
        with _faults(self.name), open_regular(self._root / name) as file:
            file.seek(start)
            return file.read(end - start)

    def sizes(self, prefix: str) -> dict[str, int]:
        """See `Address.sizes`. Links and special files are left out."""
        folder, found = self._root / prefix, {}
        try:
            with _faults(self.name, FileNotFoundError):
                for entry in walk(folder):
                    with suppress(FileNotFoundError):  # removed or renamed since
                        if entry.is_file(follow_symlinks=False):
                            name = Path(entry.path).relative_to(folder).as_posix()
                            found[name] = entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            return {}
        return found

    def create(self, name: str, data: bytes) -> bool:
        """See `Address.create`. Another process may see the file before its content is complete."""
        path = self._root / name
        try:
            with _faults(self.name, FileExistsError):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    file.write(data)
        except FileExistsError:
            return False
        return True

    def put(self, name: str, data: bytes) -> None:
        """See `Address.put`."""
        with _faults(self.name), replacing(self._root / name, durable=True) as part:
            part.write_bytes(data)

    def upload(self, name: str, path: Path) -> None:
        """See `Address.upload`."""
        with (
            _faults(self.name),
            replacing(self._root / name, durable=True) as part,
            open_regular(path) as source,
            part.open("xb") as target,
        ):
            shutil.copyfileobj(source, target)

    def remove(self, name: str) -> None:
        """See `Address.remove`."""
        with _faults(self.name):
            (self._root / name).unlink(missing_ok=True)


class Bucket:
    """A prefix in a bucket of an S3-compatible server.

    Args:
        address: `s3://BUCKET/PREFIX`. Credentials, region and endpoint come from the environment.

    Raises:
        UserError: s3fs is not installed.
    """

    def __init__(self, address: str) -> None:
        try:
            s3fs: Any = import_module("s3fs")
        except ModuleNotFoundError as error:
            raise UserError(INSTALL) from error
        self.name = address
        self._root = address.removeprefix("s3://").rstrip("/")
        # Without the cache of listings: other machines write there.
        self._files: Any = s3fs.S3FileSystem(use_listings_cache=False, config_kwargs=TIMEOUTS)
        self._files.retries = TRIES

    def read(self, name: str, most: int) -> bytes | None:
        """See `Address.read`."""
        path = f"{self._root}/{name}"
        try:
            with _faults(self.name, FileNotFoundError, ValueError):
                size = self._files.info(path)["size"] or 0
                if size > most:
                    raise ValueError(f"it has more than {most} bytes")
                return bytes(self._files.cat_file(path, start=0, end=size)) if size else b""
        except FileNotFoundError:
            return None

    def part(self, name: str, start: int, end: int) -> bytes:
        """See `Address.part`."""
        with _faults(self.name):
            return bytes(self._files.cat_file(f"{self._root}/{name}", start=start, end=end))

    def sizes(self, prefix: str) -> dict[str, int]:
        """See `Address.sizes`."""
        folder = f"{self._root}/{prefix}"
        try:
            with _faults(self.name, FileNotFoundError):
                found = self._files.find(folder, detail=True)
        except FileNotFoundError:
            return {}
        return {
            path.removeprefix(f"{folder}/"): about["size"]
            for path, about in found.items()
            if about["type"] == "file" and path.startswith(f"{folder}/")
        }

    def create(self, name: str, data: bytes) -> bool:
        """See `Address.create`."""
        try:
            with _faults(self.name, FileExistsError):
                self._files.pipe_file(f"{self._root}/{name}", data, mode="create")
        except FileExistsError:
            return False
        return True

    def put(self, name: str, data: bytes) -> None:
        """See `Address.put`."""
        with _faults(self.name):
            self._files.pipe_file(f"{self._root}/{name}", data)

    def upload(self, name: str, path: Path) -> None:
        """See `Address.upload`."""
        with _faults(self.name):
            target = f"{self._root}/{name}"
            self._files.put_file(str(path), target, chunksize=PART, max_concurrency=2)

    def remove(self, name: str) -> None:
        """See `Address.remove`."""
        with suppress(FileNotFoundError), _faults(self.name, FileNotFoundError):
            self._files.rm_file(f"{self._root}/{name}")


@lru_cache
def opened(address: str) -> Address:
    """The address `store.shared`.

    Raises:
        UserError: the package for it is not installed.
    """
    return Bucket(address) if "://" in address else Folder(Path(os.path.abspath(address)))


def check(text: str) -> None:
    """Check that a shared address can be used: objects can be written, read, and created only once.

    Raises:
        UserError: it cannot be.
    """
    address, probe = opened(text), f"probes/{uuid.uuid4().hex}"
    try:
        first, again = address.create(probe, b"one"), address.create(probe, b"two")
        content = address.read(probe, 100)
        address.remove(probe)
    except (UnreachableError, ValueError) as error:
        raise UserError(
            f"store.shared: {first_line(error)}; correct the address, the credentials or the "
            "permissions"
        ) from error
    if not first or again or content != b"one":
        raise UserError(
            f"store.shared: {text}: the server ignores conditional writes (If-None-Match), which "
            "locks need; use another one"
        )
