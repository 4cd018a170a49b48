"""Small pictures of every kind, as bytes."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def photo(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A smooth RGB picture of its own, (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def jpeg(seed: int = 0, **options: Any) -> bytes:
    return encoded(photo(seed), "JPEG", **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def bomb(width: int = 20_000, height: int = 20_000, inflated: int = 10_000) -> bytes:
    """A PNG of few bytes whose header promises width x height pixels; its data inflate."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(inflated)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def text_bomb(kind: bytes, head: bytes, inflated: int) -> bytes:
    """A good PNG with a packed text or colour profile."""
    good, at = encoded(photo(), "PNG"), 33  # behind the header
    return good[:at] + chunk(kind, head + zlib.compress(bytes(inflated))) + good[at:]


def rotated_jpeg() -> bytes:
    """40 x 30 pixels stored, shown 30 x 40."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


def grey16_png(value: int = 32_768) -> bytes:
    return encoded(Image.fromarray(np.full((30, 40), value, dtype=np.uint16)), "PNG")


def animated_gif() -> bytes:
    frames = [photo(seed).convert("P") for seed in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def stereo_jpeg() -> bytes:
    return encoded(photo(), "MPO", save_all=True, append_images=[photo(1)])


GOOD = {
    "jpeg": (jpeg(), "jpg"),
    "progressive jpeg": (jpeg(progressive=True), "jpg"),
    "stereo jpeg": (stereo_jpeg(), "jpg"),
    "cmyk jpeg": (encoded(photo().convert("CMYK"), "JPEG"), "jpg"),
    "grey jpeg": (encoded(photo().convert("L"), "JPEG"), "jpg"),
    "png": (encoded(photo(), "PNG"), "png"),
    "16-bit png": (grey16_png(), "png"),
    "palette png": (encoded(photo().convert("P"), "PNG"), "png"),
    "transparent palette png": (encoded(photo().convert("P"), "PNG", transparency=3), "png"),
    "alpha png": (encoded(photo().convert("RGBA"), "PNG"), "png"),
    "grey alpha png": (encoded(photo().convert("LA"), "PNG"), "png"),
    "one-bit png": (encoded(photo().convert("1"), "PNG"), "png"),
    "animated gif": (animated_gif(), "gif"),
    "webp": (encoded(photo(), "WEBP"), "webp"),
    "bmp": (encoded(photo(), "BMP"), "bmp"),
    "tiff": (encoded(photo(), "TIFF"), "tiff"),
}
NO_IMAGE = {
    "zero bytes": b"",
    "html": b"<!doctype html><html><body>Not found</body></html>",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "pdf": b"%PDF-1.7\n1 0 obj\n",
    "json": b'{"error": "no such picture"}',
    "jpeg magic alone": b"\xff\xd8\xff",
    "png magic alone": b"\x89PNG\r\n\x1a\n",
    "nonsense": bytes(range(256)) * 4,
}
