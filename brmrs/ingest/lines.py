"""The lines of a dump file as a stream: plain, gzip or zstd, told apart by their first bytes."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from brmrs.errors import UserError

MAX_LINE = 10_000_000  # bytes; the longest lines of the public dumps have about 300,000
PLAIN_BLOCK = 1 << 20
# Compressed bytes taken at once: 4 KiB of zstd can swell to 128 MiB, and no further.
PACKED_BLOCK = 1 << 12

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
UTF8_BOM = b"\xef\xbb\xbf"
OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ\x00": "xz data",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


class _Decompressor(Protocol):
    """What the objects of zlib and zstandard have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _TruncatedError(Exception):
    """The compressed stream ends in the middle of a member."""


def read_lines(path: Path, advance: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and content of every line, without the line feed.

    A line longer than `MAX_LINE` comes cut, but still longer than `MAX_LINE`.

    Args:
        path: the file.
        advance: called with the bytes read from disk since the last call.

    Raises:
        UserError: the file cannot be read, is no dump by its first bytes, or its compressed
            data are damaged or cut off.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(split_lines(_content(path, file, advance)), start=1):
                yield number, line.removeprefix(UTF8_BOM) if number == 1 else line
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; correct the path or its permissions") from error
    except _TruncatedError as error:
        raise UserError(
            f"{path}: cut off: the compressed data end too early, after line {number}; "
            "download the file again"
        ) from error
    except (zlib.error, zstandard.ZstdError) as error:
        raise UserError(
            f"{path}: damaged: {error}, after line {number}; download the file again"
        ) from error


def split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of blocks at its line feeds. Memory is bounded by a block and `MAX_LINE`."""
    held: list[bytes] = []  # pieces of the line that has not ended yet
    size = 0
    for block in blocks:
        first, feed, rest = block.partition(b"\n")
        if size <= MAX_LINE:
            held.append(first)
        size += len(first)
        if feed:
            yield b"".join(held)
            *lines, last = rest.split(b"\n")
            yield from lines
            held, size = [last], len(last)
    if size:
        yield b"".join(held)


def _content(path: Path, file: BinaryIO, advance: Callable[[int], None]) -> Iterator[bytes]:
    """The decompressed content in blocks."""
    start = file.read(8)
    file.seek(0)
    for magic, name in OTHER_FORMATS.items():
        if start.startswith(magic):
            raise UserError(f"{path}: expected lines of text, plain, gzip or zstd, found {name}")
    if start.startswith(GZIP):
        return _inflate(_blocks(file, PACKED_BLOCK, advance), lambda: zlib.decompressobj(wbits=31))
    if start.startswith(ZSTD):
        return _inflate(
            _blocks(file, PACKED_BLOCK, advance), zstandard.ZstdDecompressor().decompressobj
        )
    return _blocks(file, PLAIN_BLOCK, advance)


def _blocks(file: BinaryIO, size: int, advance: Callable[[int], None]) -> Iterator[bytes]:
    while block := file.read(size):
        yield block
        advance(len(block))


def _inflate(blocks: Iterable[bytes], start: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Decompress all members; NUL bytes between them are padding."""
    member: _Decompressor | None = None
    for block in blocks:
        data = block
        while data:
            if member is None:
                data = data.lstrip(b"\0")
                if not data:
                    break
                member = start()
            yield member.decompress(data)
            data = b""
            if member.eof:
                data, member = member.unused_data, None
    if member is not None:
        raise _TruncatedError
