import bz2
import gzip
import lzma
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from brmrs.errors import UserError
from brmrs.ingest import lines
from brmrs.ingest.lines import HEAD_BYTES, MAX_LINE, head, lines_of, read_lines, whole_lines

packed = partial(gzip.compress, mtime=0)  # names of tests may not depend on the time


def read(path: Path) -> list[tuple[int, bytes]]:
    return list(read_lines(path, lambda _: None))


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "anything.txt"
    path.write_bytes(content)
    return path


def zstd_of_a_large_window() -> bytes:
    """As `zstd --long=28` writes it: the frame asks for 256 MiB."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return writer.compress(b"x\n") + writer.flush()


TEXT = b"one\ntwo\r\n\nfour"
EXPECTED = [(1, b"one"), (2, b"two\r"), (3, b""), (4, b"four")]


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT + b"\n",
        b"\xef\xbb\xbf" + TEXT,
        packed(TEXT),
        packed(TEXT[:5]) + packed(TEXT[5:]),
        packed(TEXT) + b"\0" * 512,
        zstandard.compress(TEXT),
        zstandard.compress(TEXT[:5]) + zstandard.compress(TEXT[5:]),
        b"\x5a\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(TEXT),
        bz2.compress(TEXT),
        bz2.compress(TEXT[:5]) + bz2.compress(TEXT[5:]),
        lzma.compress(TEXT),
        packed(b"") + packed(b"\xef\xbb\xbf" + TEXT),
    ],
    ids=["plain", "last feed", "bom", "gzip", "gzip members", "gzip padded", "zstd", "zstd frames",
         "zstd, a frame to skip first", "bzip2", "bzip2 streams", "xz",
         "empty member"],
)  # fmt: skip
def test_content_tells_the_compression(tmp_path: Path, content: bytes) -> None:
    assert read(write(tmp_path, content)) == EXPECTED


@given(st.lists(st.binary(max_size=20), max_size=20), st.sampled_from([1, 16, lines.BLOCK]))
def test_blocks_are_cut_at_line_feeds_only(blocks: list[bytes], size: int) -> None:
    whole = b"".join(blocks)
    expected = whole.split(b"\n")
    if not expected[-1]:
        expected.pop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", size)
        regrouped = list(whole_lines(blocks))
    assert all(block.endswith(b"\n") for block in regrouped[:-1])
    assert [line for block in regrouped for line in lines_of(block)] == expected


@pytest.mark.parametrize("compress", [packed, zstandard.compress])
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_cut_off_file_says_where(
    tmp_path: Path, compress: Callable[[bytes], bytes], cut: int
) -> None:
    text = b"".join(b'{"line": %d}\n' % number for number in range(3000))
    path = write(tmp_path, compress(text)[:-cut])
    with pytest.raises(UserError, match=r"anything\.txt: cut off: .* after line \d+; download"):
        read(path)


def test_what_was_read_before_the_cut_comes_out(tmp_path: Path) -> None:
    whole = packed(b"first\nsecond\n")
    path = write(tmp_path, whole + packed(b"third\nfourth\n")[:12])
    stream = read_lines(path, lambda _: None)
    assert [next(stream), next(stream)] == [(1, b"first"), (2, b"second")]
    with pytest.raises(UserError, match="after line 2"):
        next(stream)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PK\x03\x04rest", "found a zip archive; unpack it first"),
        (b"PAR1....", "found a Parquet file; set ingest.format=table"),
        ('{"a": 1}'.encode("utf-16"), "found UTF-16 text; convert it first"),
        ('{"a": 1}'.encode("utf-32"), "found UTF-32 text; convert it first"),
        (b"user,item\ru,i\r", r"lines end with carriage returns alone; .* \(tr '"),
        (bz2.compress(b"x" * 5000)[:-8] + b"\0" * 8, "damaged"),
        (bz2.compress(b"x\n")[:20], "cut off"),
        (lzma.compress(b"x" * 5000)[:-8] + b"\1" * 8, "damaged"),
        (lzma.compress(b"x\n")[:-20], "cut off"),
        (zstd_of_a_large_window(), r"window of more than 128 MiB; .* \(zstd -d --long=31\)"),
        (packed(b"x" * 5000)[:-8] + b"\0" * 8, "damaged"),
        (packed(b"x\n") + b"trailing", "damaged"),
        (packed(b"x\n")[:6] + b"\xff" * 30, "damaged"),
        (zstandard.compress(b"x\n") + b"trailing", "damaged"),
    ],
)
def test_other_and_damaged_files_are_refused(tmp_path: Path, content: bytes, found: str) -> None:
    with pytest.raises(UserError, match=found):
        read(write(tmp_path, content))


def test_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent: No such file"):
        read(tmp_path / "absent")


def test_a_huge_line_comes_cut_and_memory_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "huge.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"before\n")
        for _ in range(60):
            file.write(b"x" * 1_000_000)
        file.write(b"\nafter\n")
    tracemalloc.start()
    sizes = [(number, len(line)) for number, line in read_lines(path, lambda _: None)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [number for number, _ in sizes] == [1, 2, 3]
    assert MAX_LINE < sizes[1][1] < MAX_LINE + 10_000_000
    assert peak < 60_000_000


def test_the_bytes_read_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PLAIN_BLOCK", 4)
    seen: list[int] = []
    assert len(list(read_lines(write(tmp_path, b"abc\ndef\nghi"), seen.append))) == 3
    assert seen == [4, 4, 3]


def test_lines_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PLAIN_BLOCK", 4)
    monkeypatch.setattr(lines, "BLOCK", 4)
    seen: list[int] = []
    stream: Iterator[tuple[int, bytes]] = read_lines(write(tmp_path, b"abc\n" * 50), seen.append)
    next(stream)
    assert sum(seen) < 50


def test_a_head_is_bounded_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "long.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(20):
            file.write(b"x" * 9_900_000 + b"\n")
    tracemalloc.start()
    found = head(path, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, found)) < HEAD_BYTES + 2 * MAX_LINE
    assert peak < 60_000_000


def test_a_head_has_the_first_lines_that_are_not_blank(tmp_path: Path) -> None:
    path = write(tmp_path, b"\n" * 2_000_000 + b" one\n\ntwo\nthree\n")
    assert head(path, 2) == [b" one", b"two"]
    cut = write(tmp_path, packed(b"one\n" * 9) + packed(b"two\n" * 9)[:-9])
    assert head(cut, 5) == [b"one"] * 5
    with pytest.raises(UserError, match="zip"):
        head(write(tmp_path, b"PK\x03\x04rest"), 2)
