"""Read and write files: digests, atomic writes, JSON and Parquet with the same bytes each time."""

import errno
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.errors import UserError

# A file that changed less than this many nanoseconds before it was read may change again without
# another time stamp.
SETTLED_NS = 2_000_000_000

DEEPEST = 100  # folders within each other

# Size, times of modification and status change (ns), inode, device. The status change cannot be
# set back, as the modification can.
Signature = tuple[int, int, int, int, int]

_digests: dict[str, tuple[Signature, str]] = {}


class NotRegularError(OSError, ValueError):
    """A pipe, device, socket or folder is where a regular file is expected."""

    def __init__(self, path: Path):
        super().__init__(errno.EINVAL, "it is no regular file", str(path))


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading. Opening a pipe would block; a device may never end.

    Raises:
        OSError: the file cannot be read.
        NotRegularError: it is another kind of file.
    """
    return os.fdopen(_opened(path, os.O_RDONLY), "rb")


def open_appended(path: Path) -> BufferedRandom:
    """Open a lock or log file in a folder that others may write to; its folder is made.

    Raises:
        OSError: it cannot be opened, or is a link (ELOOP), whose target would be changed.
        NotRegularError: it is no regular file, or another name (hard link) of some file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW)
    if os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise NotRegularError(path)
    return os.fdopen(descriptor, "a+b")


def _opened(path: Path, flags: int) -> int:
    """Descriptor of a regular file."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError(path)
    return descriptor


def digest_file(path: Path) -> str:
    """Hex SHA-256 of a regular file.

    Raises:
        OSError: the file cannot be read, or is another kind of file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_unchanged(path: Path) -> str:
    """Hex SHA-256 of a file, computed once per process while the file's signature is the same."""
    before = signature(path.stat())
    known = _digests.get(str(path.absolute()))
    if known and known[0] == before:
        return known[1]
    digest = digest_file(path)
    settled = time.time_ns() - max(before[1], before[2]) > SETTLED_NS
    if settled and signature(path.stat()) == before:
        _digests[str(path.absolute())] = before, digest
    return digest


def signature(status: os.stat_result) -> Signature:
    """The file's signature: it changes with the file, and is known without reading the file."""
    return (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_dev,
    )


def digest_bytes(data: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def unique_beside(path: Path) -> Path:
    """A hidden name in the same folder that no other thread or process uses."""
    return path.with_name(f".{path.name[:100]}.{os.getpid()}-{uuid.uuid4().hex}")


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Write a file so that readers see the old one or all of the new one, never a part.

    Args:
        path: the file; its folder is made if it is missing. A link there is replaced itself.
        durable: write the file, then its folder's entry, to the disk before the block ends.

    Yields:
        A path beside `path` that no other call uses. The file written there replaces `path` at the
        end of the block, and is removed if the block fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = unique_beside(path)
    try:
        yield part
        if durable:
            sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if durable:
        sync(path.parent)


def write_json(path: Path, value: object, *, durable: bool = False) -> None:
    """Write JSON with sorted keys, atomically (see `replacing`).

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path, durable=durable) as part:
        part.write_text(text + "\n", encoding="utf-8")


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def walk(folder: Path, deepest: int = DEEPEST) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder, each folder after its content. Links are never followed.

    Raises:
        UserError: folders are nested more than `deepest` levels deep.
    """
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if not deepest:
                raise UserError(
                    f"folders are nested more than {DEEPEST} deep; remove them by hand: {folder}"
                )
            yield from walk(Path(entry.path), deepest - 1)
        yield entry


def remove(path: Path) -> int:
    """Remove a file, a link (never what it points to) or a folder; its size in bytes.

    A missing path is no error.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(status.st_mode):
        path.unlink()
        return status.st_size
    entries = (entry for entry in walk(path) if not entry.is_dir(follow_symlinks=False))
    size = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    shutil.rmtree(path)  # follows no links
    return size


def digest_json(value: object) -> str:
    """Hex SHA-256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_parquet(path: Path, schema: pa.Schema, columns: Mapping[str, object]) -> None:
    """Write columns (arrays or sequences, by name) as Parquet, in the order of the schema."""
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    pq.write_table(pa.table(arrays, schema=schema), path)
