"""Bytes from anywhere to a picture: what they are, whether they decode, and the pixels."""

import hashlib
import warnings
from dataclasses import dataclass, replace
from enum import StrEnum
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

# Formats that Pillow decodes by itself; no PostScript, no vector formats, no containers.
EXTENSIONS = {
    "JPEG": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tiff",
}
FORMATS = tuple(EXTENSIONS)

# What Pillow says of odd files is not for the user: the status tells it. `check` has its own limit
# on pixels; Pillow's stays as the one above which it refuses by itself.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Status(StrEnum):
    """What became of an item's picture."""

    OK = "ok"
    MISSING = "missing"  # no file and no address
    UNREACHABLE = "unreachable"  # no answer, or none in time
    BUSY = "busy"  # asks for patience, or fails itself (429, 5xx), to the last try
    HTTP_ERROR = "http error"  # another answer than the picture
    REFUSED = "refused"  # an address that must not be fetched
    TOO_LARGE = "too large"  # in bytes or in pixels
    NOT_AN_IMAGE = "not an image"
    TRUNCATED = "truncated"  # begins as an image, but breaks off or is damaged


PASSING = (Status.UNREACHABLE, Status.BUSY)  # may be otherwise another time


@dataclass(frozen=True)
class Picture:
    """What is known of one picture.

    Attributes:
        status: the rest, but for `source`, is None unless it is OK.
        source: the address or the file name it came from.
        sha256: of the bytes as they came.
        extension: of the format found in the bytes, whatever the name or server said.
        width: pixels, after the rotation that EXIF asks for.
        height: pixels, likewise.
    """

    status: Status
    source: str | None = None
    sha256: str | None = None
    extension: str | None = None
    width: int | None = None
    height: int | None = None

    def at(self, source: str) -> "Picture":
        """The same picture, with its source."""
        return replace(self, source=source)


def check(data: bytes, max_bytes: int, max_pixels: int) -> Picture:
    """Decode the bytes in full and say what they are.

    The pixels are counted from the header, before anything is decoded. Of an animation the first
    frame counts.
    """
    if len(data) > max_bytes:
        return Picture(Status.TOO_LARGE)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        return Picture(Status.TOO_LARGE)
    except Exception:  # hostile headers make Pillow's plugins raise nearly anything
        return Picture(Status.NOT_AN_IMAGE)
    with image:
        if image.width * image.height > max_pixels:
            return Picture(Status.TOO_LARGE)
        # Pillow's JPEG reader says MPO of a JPEG with a second one behind it.
        extension = EXTENSIONS.get(image.format or "", EXTENSIONS["JPEG"])
        try:
            width, height = _rgb(image).size
        except Exception:  # likewise
            return Picture(Status.TRUNCATED)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(Status.OK, None, digest, extension, width, height)


def to_rgb(data: bytes) -> Image.Image:
    """The picture as a viewer shows it: rotated by EXIF, in RGB, over white where transparent.

    Args:
        data: bytes that `check` found to be OK.
    """
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        return _rgb(image)


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits, not scale them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
