"""Pictures of items from the artifact of the stage `images`."""

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from brmrs.images.decode import EXTENSIONS
from brmrs.images.picture_store import FILES
from brmrs.service.limits import MOST_PICTURE
from brmrs.service.loaded import LoadedRun
from brmrs.service.problem import Problem

CHUNK = 2**16  # bytes of a picture that are sent at once
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
LONGEST_START = 12  # bytes that `_TYPES` look at


@dataclass(frozen=True)
class Picture:
    """An open file whose bytes were checked.

    Attributes:
        file: at its beginning; `PictureAnswer` closes it.
        size: in bytes.
        kind: content type, by the bytes.
    """

    file: FileIO
    size: int
    kind: str


class PictureAnswer(Response):
    """Sends a picture chunk by chunk, so that slow readers hold `CHUNK` bytes each, not a file.

    The file stays open, so one that replaces it is never sent. A file that is changed in place
    after the check is sent as it is; if its size changed, the server ends the connection.
    """

    def __init__(self, picture: Picture, headers: dict[str, str]) -> None:
        sizes = {"content-length": str(picture.size)}
        super().__init__(None, media_type=picture.kind, headers={**headers, **sizes})
        self.file = picture.file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the headers, then the file."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        with self.file:
            await send({"type": "http.response.start", **start})
            while chunk := self.file.read(CHUNK):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def digest_of(run: LoadedRun, asin: str) -> str:
    """SHA-256 of an item's picture.

    Raises:
        Problem: the item is unknown or has no picture.
    """
    digest = run.catalogue.pictures[run.item(asin)]
    if digest is None or not _SHA256.fullmatch(digest):
        raise Problem(404, "the item has no picture")
    return digest


def checked(run: LoadedRun, digest: str) -> Picture:
    """A picture by its digest. The artifact is untrusted, so the bytes are checked.

    Raises:
        Problem: it is missing or damaged, or there are too many open files.
    """
    assert run.images is not None
    folder = run.images / FILES / digest[:2]
    for extension in EXTENSIONS.values():
        file = _opened(folder / f"{digest}.{extension}")
        if file is None:
            continue
        found = _checked(file, digest)
        if found is not None:
            return found
        file.close()
    raise Problem(404, "the picture is missing or damaged; run the pipeline again")


def _opened(path: Path) -> FileIO | None:
    """A regular file within the limit; None of any other file.

    Raises:
        Problem: this process, or the machine, has as many open files as it may have.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise Problem(503, "too many open files; try again") from error
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_PICTURE:
        os.close(descriptor)
        return None
    return FileIO(descriptor)


def _checked(file: FileIO, digest: str) -> Picture | None:
    """The file as a picture, if it has this digest and the first bytes of a known format."""
    try:
        start = file.read(LONGEST_START)
        kind = next((kind for first, kind in _TYPES if first.match(start)), None)
        file.seek(0)
        if kind is None or hashlib.file_digest(file, "sha256").hexdigest() != digest:
            return None
        size = file.tell()
        file.seek(0)
    except OSError:
        return None
    return Picture(file, size, kind)
