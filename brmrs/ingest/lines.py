"""The lines of a dump file as a stream. The first bytes of a file show how it is compressed."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import zstandard
from isal import igzip

from brmrs.errors import UserError
from brmrs.suggest import instead

MAX_LINE = 10_000_000  # bytes; the longest lines of the public dumps have about 300,000
BLOCK = 1 << 20  # bytes of a block of whole lines, about
PLAIN_BLOCK = 1 << 20
# Decompressed bytes. With less, waiting for the interpreter's lock takes longer than inflating.
GZIP_BLOCK = 1 << 20
# Compressed bytes taken at once; 4 KiB of zstd expand to at most 128 MiB.
PACKED_BLOCK = 1 << 12

HEAD_BYTES = 4 << 20  # decompressed bytes of a file's head, about
MAX_WINDOW = 1 << 27  # bytes of memory that a zstd file may require (zstd --long=27)

GZIP = b"\x1f\x8b"
BZIP2 = b"BZh"
XZ = b"\xfd7zXZ\x00"
# A frame of data, or one of the 16 kinds of frames to be skipped.
ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([kind]) + b"\x2a\x4d\x18" for kind in range(0x50, 0x60)))
UTF8_BOM = b"\xef\xbb\xbf"
OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"PAR1": "a Parquet file; set ingest.format=table, which reads it",
    b"ARROW1": "an Arrow file; write it as JSON lines first (polars: write_ndjson)",
    b"\xff\xfe\0\0": "UTF-32 text; convert it first (iconv -f UTF-32 -t UTF-8)",
    b"\xff\xfe": "UTF-16 text; convert it first (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16 text; convert it first (iconv -f UTF-16 -t UTF-8)",
}


class _Decompressor(Protocol):
    """The common interface of the decompressors of zlib, bz2, lzma and zstandard."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class CutOffError(UserError):
    """The compressed data are truncated. All lines before are complete.

    Attributes:
        line: the number of the last whole line.
    """

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(path, line)
        self.path, self.line = path, line

    def __str__(self) -> str:
        return (
            f"{self.path}: cut off: the compressed data end too early, after line {self.line}; "
            "download the file again, or set ingest.allow_truncated=true to read it up to there"
        )


class _DamagedError(Exception):
    """The compressed stream is damaged."""


class _TruncatedError(Exception):
    """The compressed stream ends in the middle of a member."""


def read_lines(path: Path, advance: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and content of every line, without the line feed.

    Args and errors are those of `read_blocks`.
    """
    for first, block in read_blocks(path, advance):
        yield from enumerate(lines_of(block), start=first)


def head(path: Path, count: int) -> list[bytes]:
    """The first `count` lines that are not blank, within about `HEAD_BYTES`.

    The rest of the file may be truncated or damaged.

    Raises:
        UserError: the file cannot be read.
    """
    found: list[bytes] = []
    size = 0
    try:
        for _, block in read_blocks(path, lambda _: None):
            size += len(block)
            if not block.isspace():
                found += [line for line in lines_of(block) if line and not line.isspace()]
            if len(found) >= count or size > HEAD_BYTES:
                break
    except UserError:
        if not found:
            raise
    return found[:count]


def lines_of(block: bytes) -> list[bytes]:
    """The lines of a block of `read_blocks`, without their line feeds."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def read_blocks(path: Path, advance: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole lines, each with the number (from 1) of its first line.

    Every line ends with a line feed, except perhaps the last one of the file. A line longer than
    `MAX_LINE` is cut, but stays longer than `MAX_LINE`.

    Args:
        path: the file.
        advance: called with the bytes read from disk since the last call.

    Raises:
        CutOffError: the compressed data end too early.
        UserError: the file cannot be read, is no dump by its first bytes, or its compressed
            data are damaged.
    """
    number = 0  # of lines given
    try:
        with path.open("rb") as file:
            for block in whole_lines(_content(path, file, advance)):
                if not number:
                    _refuse_returns(path, block)
                whole = block if number else block.removeprefix(UTF8_BOM)
                if whole:
                    yield number + 1, whole
                number += feeds(block)
    except OSError as error:
        advice = instead(path, "correct the path or its permissions")
        raise UserError(f"{path}: {error.strerror}; {advice}") from error
    except _TruncatedError as error:
        raise CutOffError(path, number) from error
    except zstandard.ZstdError as error:
        if "too much memory" in str(error):
            raise UserError(
                f"{path}: written with a window of more than {MAX_WINDOW >> 20} MiB; decompress "
                "it first (zstd -d --long=31)"
            ) from error
        raise _damaged(path, number, error) from error
    except (zlib.error, lzma.LZMAError, _DamagedError) as error:
        raise _damaged(path, number, error) from error


def _refuse_returns(path: Path, block: bytes) -> None:
    """Refuse line ends of old Macs, which would make one line of the whole file."""
    if b"\r" in block[:-1] and b"\n" not in block:
        raise UserError(
            f"{path}: its lines end with carriage returns alone; convert it first "
            "(tr '\\r' '\\n' < FILE > NEW)"
        )


def _damaged(path: Path, line: int, error: Exception) -> UserError:
    return UserError(f"{path}: damaged: {error}, after line {line}; download the file again")


def feeds(block: bytes) -> int:
    """The number of line feeds; many times faster than `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")))


def whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Regroup a stream into blocks of about `BLOCK` bytes, all but the last of whole lines.

    Memory is bounded by a piece, `BLOCK` and `MAX_LINE`. If the stream fails, the complete lines
    before the fault are yielded first.
    """
    lines: list[bytes | memoryview] = []  # pieces of whole lines
    line: list[bytes] = []  # pieces of the line that has not ended yet
    size = length = 0  # of `lines`; of that line
    try:
        for piece in pieces:
            end = piece.rfind(b"\n") + 1
            if not end:
                if length <= MAX_LINE:
                    line.append(piece)
                length += len(piece)
                continue
            start = 0 if length <= MAX_LINE else piece.find(b"\n")
            lines += [*line, memoryview(piece)[start:end]]
            size += length + end - start
            line, length = [piece[end:]], len(piece) - end
            if size >= BLOCK:
                yield b"".join(lines)
                lines, size = [], 0
    except Exception:
        if lines:
            yield b"".join(lines)
        raise
    if size + length:
        yield b"".join([*lines, *line])


def _content(path: Path, file: BinaryIO, advance: Callable[[int], None]) -> Iterator[bytes]:
    """The decompressed content in blocks."""
    start = file.read(8)
    file.seek(0)
    for magic, found in OTHER_FORMATS.items():
        if start.startswith(magic):
            raise UserError(
                f"{path}: expected lines of text, plain or compressed by gzip, zstd, bzip2 or xz; "
                f"found {found}"
            )
    if start.startswith(GZIP):
        return _gunzip(file, advance)
    starts: dict[bytes | tuple[bytes, ...], Callable[[], _Decompressor]] = {
        ZSTD: zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj,
        BZIP2: bz2.BZ2Decompressor,
        XZ: partial(lzma.LZMADecompressor, memlimit=2 * MAX_WINDOW),
    }
    for magics, decompressor in starts.items():
        if start.startswith(magics):
            return _inflate(_blocks(file, PACKED_BLOCK, advance), decompressor)
    return _blocks(file, PLAIN_BLOCK, advance)


def _blocks(file: BinaryIO, size: int, advance: Callable[[int], None]) -> Iterator[bytes]:
    while block := file.read(size):
        yield block
        advance(len(block))


def _gunzip(file: BinaryIO, advance: Callable[[int], None]) -> Iterator[bytes]:
    """Inflate with ISA-L, three times as fast as zlib, and without the interpreter's lock.

    At damage, ISA-L drops its last block. zlib then reads the file again: it gives every byte
    before the damage, and a better message.
    """
    given = done = 0
    try:
        with igzip.open(file, "rb") as stream:
            while block := stream.read(GZIP_BLOCK):
                yield block
                given += len(block)
                advance(file.tell() - done)
                done = file.tell()
        return
    except Exception:  # several exceptions; zlib then raises another one
        file.seek(0)
    blocks = _blocks(file, PACKED_BLOCK, lambda _: None)  # these bytes have been counted
    for block in _inflate(blocks, lambda: zlib.decompressobj(wbits=31)):
        yield block[given:]
        given = max(given - len(block), 0)


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
            try:
                content = member.decompress(data)
            except OSError as error:  # so bz2 reports damage
                raise _DamagedError(error) from error
            yield content
            data = b""
            if member.eof:
                data, member = member.unused_data, None
    if member is not None:
        raise _TruncatedError
