"""Pictures of items from the artifact of the stage `images`."""

import os
import re
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from brmrs.images.decode import EXTENSIONS
from brmrs.images.picture_store import FILES
from brmrs.service.limits import MOST_PICTURE
from brmrs.service.loaded import LoadedRun
from brmrs.service.problem import Problem

_SHA256 = re.compile(r"[0-9a-f]{64}")

# First bytes and content type of the formats that the stage `images` accepts.
_TYPES = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM"), "image/bmp"),
    (re.compile(rb"II\*\0|MM\0\*"), "image/tiff"),
)


@dataclass(frozen=True)
class Bytes:
    """A picture.

    Attributes:
        data: as fetched.
        kind: content type, by the bytes.
        sha256: hex.
    """

    data: bytes
    kind: str
    sha256: str


def digest_of(run: LoadedRun, asin: str) -> str:
    """SHA-256 of an item's picture.

    Raises:
        Problem: the item is unknown or has no picture.
    """
    digest = run.catalogue.pictures[run.item(asin)]
    if digest is None or not _SHA256.fullmatch(digest):
        raise Problem(404, "the item has no picture")
    return digest


def read(run: LoadedRun, digest: str) -> Bytes:
    """A picture by its digest. The artifact is untrusted, so the bytes are checked.

    Raises:
        Problem: it is missing or damaged.
    """
    assert run.images is not None
    folder = run.images / FILES / digest[:2]
    for extension in EXTENSIONS.values():
        data = _content(folder / f"{digest}.{extension}")
        if data is None:
            continue
        kind = next((kind for start, kind in _TYPES if start.match(data)), None)
        if kind is not None and sha256(data).hexdigest() == digest:
            return Bytes(data, kind, digest)
    raise Problem(404, "the picture is missing or damaged; run the pipeline again")


def _content(path: Path) -> bytes | None:
    """The bytes of a regular file within the limit; None of any other file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_PICTURE:
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MOST_PICTURE)
    except OSError:
        return None
    finally:
        os.close(descriptor)
