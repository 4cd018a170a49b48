import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from brmrs.errors import UserError
from brmrs.ingest.amazon import lines
from brmrs.ingest.amazon.lines import MAX_LINE, lines_of, read_lines, whole_lines


def read(path: Path) -> list[tuple[int, bytes]]:
    return list(read_lines(path, lambda _: None))


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "anything.txt"
    path.write_bytes(content)
    return path


TEXT = b"one\ntwo\r\n\nfour"
EXPECTED = [(1, b"one"), (2, b"two\r"), (3, b""), (4, b"four")]


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT + b"\n",
        b"\xef\xbb\xbf" + TEXT,
        gzip.compress(TEXT),
        gzip.compress(TEXT[:5]) + gzip.compress(TEXT[5:]),
        gzip.compress(TEXT) + b"\0" * 512,
        zstandard.compress(TEXT),
        zstandard.compress(TEXT[:5]) + zstandard.compress(TEXT[5:]),
        gzip.compress(b"") + gzip.compress(b"\xef\xbb\xbf" + TEXT),
    ],
    ids=["plain", "last feed", "bom", "gzip", "gzip members", "gzip padded", "zstd", "zstd frames",
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


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_cut_off_file_says_where(
    tmp_path: Path, compress: Callable[[bytes], bytes], cut: int
) -> None:
    text = b"".join(b'{"line": %d}\n' % number for number in range(3000))
    path = write(tmp_path, compress(text)[:-cut])
    with pytest.raises(UserError, match=r"anything\.txt: cut off: .* after line \d+; download"):
        read(path)


def test_what_was_read_before_the_cut_comes_out(tmp_path: Path) -> None:
    whole = gzip.compress(b"first\nsecond\n")
    path = write(tmp_path, whole + gzip.compress(b"third\nfourth\n")[:12])
    stream = read_lines(path, lambda _: None)
    assert [next(stream), next(stream)] == [(1, b"first"), (2, b"second")]
    with pytest.raises(UserError, match="after line 2"):
        next(stream)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (b"BZh91AY", "bzip2 data"),
        (b"\xfd7zXZ\x00", "xz data"),
        (b"PAR1....", "a Parquet file"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16 text"),
        (gzip.compress(b"x" * 5000)[:-8] + b"\0" * 8, "damaged"),
        (gzip.compress(b"x\n") + b"trailing", "damaged"),
        (gzip.compress(b"x\n")[:6] + b"\xff" * 30, "damaged"),
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
