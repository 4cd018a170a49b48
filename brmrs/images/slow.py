"""Find pictures that take long to read although they have few bytes and pixels.

Pillow reads parts without pixels one by one in Python, and joins some of them by copying all parts
before. So 20 MB of small parts take minutes. The parts are counted before Pillow sees the picture.
"""

import re

# Of a progressive JPEG. Each scan passes over all pixels, and a scan without data takes few bytes.
# libtiff has the same limit for the JPEGs in a TIFF; encoders write about ten.
MAX_SCANS = 100
# Of a JPEG, scans and metadata. For each EXIF segment, Pillow copies all segments before it, so 20
# MB of small ones take minutes. A colour profile has at most 255.
MAX_SEGMENTS = 1_000
# Chunks of a PNG; blocks of a GIF before its first picture. An encoder writes 8 kB and more to a
# chunk of pixels, and 255 bytes to a block of metadata.
MAX_CHUNKS = 20_000

# The start of a JPEG, and a marker. FF 00 and FF FF are none; FF D0 to FF D7 are within a scan.
_JPEG = b"\xff\xd8"
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = (0x01, 0xD8)
_PNG = b"\x89PNG\r\n\x1a\n"
_GIF = (b"GIF87a", b"GIF89a")
_EXTENSION, _PICTURE, _TRAILER = 0x21, 0x2C, 0x3B  # what a block of a GIF starts with


def is_slow(data: bytes) -> bool:
    """Whether a JPEG, PNG or GIF has more parts than the limits above."""
    if data.startswith(_JPEG):
        return _is_slow_jpeg(data)
    if data.startswith(_PNG):
        return _is_slow_png(data)
    return data.startswith(_GIF) and _is_slow_gif(data)


def _is_slow_jpeg(data: bytes) -> bool:
    """Whether a JPEG has more scans or segments than `MAX_SCANS` and `MAX_SEGMENTS`.

    Counts up to the end of the picture, by the markers as a decoder finds them.
    """
    scans = segments = 0
    at = len(_JPEG)
    while (found := _MARKER.search(data, at)) is not None and found[1][0] != _END:
        at, marker = found.end(), found[1][0]
        segments += 1
        scans += marker == _SCAN
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            return True
        if marker not in _WITHOUT_LENGTH:
            at += int.from_bytes(data[at : at + 2])
    return False


def _is_slow_png(data: bytes) -> bool:
    """Counts all chunks, as Pillow reads them."""
    at = len(_PNG)
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data) or data[at + 4 : at + 8] == b"IEND":
            return False
        at += 12 + int.from_bytes(data[at : at + 4])
    return True


def _is_slow_gif(data: bytes) -> bool:
    """Counts the blocks before the first picture, and bytes that are none, which Pillow skips."""
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    blocks = 0
    while at < len(data) and blocks <= MAX_CHUNKS:
        start = data[at]
        at, blocks = at + 1, blocks + 1
        if start in (_PICTURE, _TRAILER):
            return False
        if start != _EXTENSION:
            continue
        at += 1  # its kind
        while at < len(data) and data[at] and blocks <= MAX_CHUNKS:
            at, blocks = at + 1 + data[at], blocks + 1
        at += 1
    return blocks > MAX_CHUNKS
