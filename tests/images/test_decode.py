import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import GOOD, NO_IMAGE, bomb, encoded, grey16_png, jpeg, photo, rotated_jpeg, text_bomb
from PIL import Image

from brmrs.images.decode import Status, check, to_rgb
from brmrs.images.slow import MAX_CHUNKS, MAX_SCANS

LIMITS = (1_000_000, 1_000_000)


@pytest.mark.parametrize("name", GOOD)
def test_every_kind_of_picture_is_accepted(name: str) -> None:
    data, extension = GOOD[name]
    picture = check(data, *LIMITS)
    assert picture.status == Status.OK
    assert (picture.extension, picture.width, picture.height) == (extension, 40, 30)
    image = to_rgb(data)
    assert (image.mode, image.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("name", NO_IMAGE)
def test_bytes_that_are_not_an_image(name: str) -> None:
    assert check(NO_IMAGE[name], *LIMITS).status == Status.NOT_AN_IMAGE


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"animated gif", "stereo jpeg"}))
def test_half_of_a_picture_is_not_ok(name: str) -> None:
    data = GOOD[name][0]
    status = check(data[: len(data) // 2], *LIMITS).status
    assert status in (Status.TRUNCATED, Status.NOT_AN_IMAGE)


def test_half_a_jpeg_is_truncated() -> None:
    data = encoded(photo(size=(400, 300)), "JPEG")
    assert check(data[: len(data) // 2], *LIMITS).status == Status.TRUNCATED


@pytest.mark.parametrize("side", [1_001, 20_000, 2_000_000_000])
def test_a_pixel_bomb_is_refused_by_its_header(side: int) -> None:
    data = bomb(side, side)
    assert len(data) < 1_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(data, *LIMITS).status == Status.TOO_LARGE


INFLATED = 40_000_000  # bytes, of 40 kB
DATA_BOMBS = {
    "text": text_bomb(b"zTXt", b"a\0\0", INFLATED),
    "international text": text_bomb(b"iTXt", b"a\0\1\0\0\0", INFLATED),
    "colour profile": text_bomb(b"iCCP", b"a\0\0", INFLATED),
    "pixels beyond the promised ones": bomb(40, 30, inflated=INFLATED),
}


@pytest.mark.parametrize("name", DATA_BOMBS)
def test_compressed_metadata_does_not_fill_the_memory(name: str) -> None:
    data = DATA_BOMBS[name]
    assert len(data) < INFLATED / 500
    tracemalloc.start()
    check(data, *LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < INFLATED / 4


def repeated_scans(scans: int) -> bytes:
    """A progressive JPEG of so many scans: the last one is there again and again."""
    data = encoded(photo(size=(400, 300)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]


def with_segments(kind: int, data: bytes, count: int) -> bytes:
    good = jpeg()
    segment = bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2) + data
    return good[:2] + segment * count + good[2:]


def test_the_scans_of_a_jpeg_are_bounded() -> None:
    """Each passes over all pixels: 214 kB of scans without data took 22 s."""
    assert check(repeated_scans(MAX_SCANS), *LIMITS).status == Status.OK
    assert check(repeated_scans(MAX_SCANS + 1), *LIMITS).status == Status.TOO_LARGE


def with_chunks(count: int, kind: bytes = b"abCd", data: bytes = b"") -> bytes:
    """A PNG with so many chunks more before its pixels."""
    good = encoded(photo(), "PNG")
    chunk = len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
    return good[:33] + chunk * count + good[33:]


def with_blocks(blocks: bytes) -> bytes:
    """A GIF with more blocks before its picture."""
    good = encoded(photo().convert("P"), "GIF")
    colours = 13 + (3 << (good[10] & 7) + 1)
    return good[:colours] + blocks + good[colours:]


SLOW = {
    "chunks": with_chunks(1_000_000),
    "chunks of pixels": with_chunks(1_000_000, b"IDAT"),
    "chunks of text": with_chunks(500_000, b"tEXt", b"k\0v"),
    "blocks": with_blocks(b"\x21\xfe\x01a\0" * 1_000_000),
    "parts of a comment": with_blocks(b"\x21\xfe" + b"\x01a" * 4_000_000 + b"\0"),
    "bytes that are no block": with_blocks(bytes(5_000_000)),
    "scans": repeated_scans(10_000),
    "EXIF": with_segments(0xE1, b"Exif\0\0ab", 500_000),  # took minutes
    "comments": with_segments(0xFE, b"ab", 500_000),
    "starts": b"\xff\xd8" * 500_000,
}


@pytest.mark.parametrize("name", SLOW)
def test_a_picture_that_takes_long_is_refused_at_once(name: str) -> None:
    started = time.process_time()
    assert check(SLOW[name], 10**8, 10**6).status == Status.TOO_LARGE
    assert time.process_time() - started < 3


def test_many_chunks_and_blocks_are_accepted_in_a_moment() -> None:
    """As many as the limits allow, in the kinds that take Pillow longest."""
    some = MAX_CHUNKS - 50
    started = time.process_time()
    for data in (
        with_chunks(some),
        with_chunks(some, b"tEXt", b"k\0v"),
        with_blocks(b"\x21\xfe\x01a\0" * (some // 2)),
        with_blocks(b"\x21\xfe" + b"\xff".ljust(256, b"a") * some + b"\0"),
    ):
        assert check(data, 10**8, 10**6).status == Status.OK
    assert time.process_time() - started < 10


def test_metadata_of_usual_size_is_accepted() -> None:
    assert check(with_segments(0xE2, b"ICC_PROFILE\0ab", 255), *LIMITS).status == Status.OK
    exif = Image.Exif()
    exif[0x9286] = b"ASCII\0\0\0" + b"\xff\xda" * 1_000
    behind = b"\xff\xda" * 1_000  # such as the film of a motion photo
    assert check(jpeg(exif=exif) + behind, *LIMITS).status == Status.OK


def test_limits_are_inclusive() -> None:
    data = jpeg()
    assert check(data, len(data), 1_200).status == Status.OK
    assert check(data, len(data) - 1, 1_200).status == Status.TOO_LARGE
    assert check(data, len(data), 1_199).status == Status.TOO_LARGE


def test_exif_rotation_turns_the_picture() -> None:
    picture = check(rotated_jpeg(), *LIMITS)
    assert (picture.width, picture.height) == (30, 40)
    assert to_rgb(rotated_jpeg()).size == (30, 40)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    assert to_rgb(grey16_png(32_768)).getpixel((0, 0)) == (128, 128, 128)


def test_transparent_is_white() -> None:
    clear = encoded(Image.new("RGBA", (4, 4), (200, 0, 0, 0)), "PNG")
    assert to_rgb(clear).getpixel((0, 0)) == (255, 255, 255)
    half = encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG")
    assert to_rgb(half).getpixel((0, 0)) == (127, 127, 127)


def test_the_first_frame_of_an_animation_counts() -> None:
    shown = np.asarray(to_rgb(GOOD["animated gif"][0]), dtype=float)
    first = np.asarray(photo(0).convert("P").convert("RGB"), dtype=float)
    assert np.abs(shown - first).mean() < 8


@given(st.binary(max_size=300), st.sampled_from(sorted(GOOD)), st.integers(0, 2_000))
def test_damaged_bytes_never_raise(noise: bytes, name: str, at: int) -> None:
    data = GOOD[name][0]
    at %= len(data)
    damaged = data[:at] + noise + data[at + len(noise) :]
    picture = check(damaged, *LIMITS)
    assert (picture.sha256 is not None) == (picture.status == Status.OK)
    if picture.status == Status.OK:
        assert to_rgb(damaged).size == (picture.width, picture.height)
