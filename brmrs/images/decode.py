"""Decode pictures from untrusted bytes: format, size, whether they decode, and the pixels."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from brmrs.images.slow import is_slow

# Formats that Pillow decodes without external programs; no vector formats, no containers.
EXTENSIONS = {
    "JPEG": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tiff",
}
FORMATS = tuple(EXTENSIONS)

MIN_SIDE = 8  # pixels; below it a picture is a spacer, such as the 1 x 1 GIF of Amazon's servers
# The status replaces Pillow's warnings on unusual files. `check` limits the pixels; Pillow's higher
# limit remains.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Status(StrEnum):
    """The outcome for an item's picture."""

    OK = "ok"
    MISSING = "missing"  # no file and no address
    UNREACHABLE = "unreachable"  # no answer, or none in time
    BUSY = "busy"  # 429 or 5xx to the last try
    HTTP_ERROR = "http error"  # any other answer without a picture
    REFUSED = "refused"  # an address that must not be fetched
    PLACEHOLDER = "placeholder"  # a few pixels, or a known "no image" picture
    TOO_LARGE = "too large"  # in bytes, pixels, or number of parts (see `brmrs.images.slow`)
    NOT_AN_IMAGE = "not an image"
    TRUNCATED = "truncated"  # begins as an image, but breaks off or is damaged


TRANSIENT = (Status.UNREACHABLE, Status.BUSY)  # the next run may get another answer


@dataclass(frozen=True)
class Picture:
    """The result for one picture.

    Attributes:
        status: unless it is OK, all fields but `source` are None.
        source: the address or the file name.
        sha256: of the bytes as received.
        extension: of the format found in the bytes; name and content type do not count.
        width: pixels, after the rotation in the EXIF data.
        height: pixels, after the rotation in the EXIF data.
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


def best(tried: Sequence[Picture]) -> Picture:
    """The first picture that is OK, else the one whose status is reported.

    That is the first one that the next run may change, else the first one that is not MISSING.
    """
    failed = [picture for picture in tried if picture.status != Status.MISSING]
    found = [picture for picture in failed if picture.status == Status.OK]
    transient = [picture for picture in failed if picture.status in TRANSIENT]
    return (*found, *transient, *failed, *tried)[0]


def check(data: bytes, max_bytes: int, max_pixels: int) -> Picture:
    """Decode the bytes in full.

    Pixels, scans and segments are counted before anything is decoded. Of an animation the first
    frame counts.

    Args:
        data: untrusted bytes.
        max_bytes: of `data`.
        max_pixels: width times height.
    """
    if len(data) > max_bytes or is_slow(data):
        return Picture(Status.TOO_LARGE)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        return Picture(Status.TOO_LARGE)
    except Exception:  # for hostile headers Pillow's plugins raise errors of any class
        return Picture(Status.NOT_AN_IMAGE)
    with image:
        if image.width * image.height > max_pixels:
            return Picture(Status.TOO_LARGE)
        if min(image.size) < MIN_SIDE:
            return Picture(Status.PLACEHOLDER)
        # Pillow's JPEG reader reports MPO for a JPEG that is followed by another one.
        extension = EXTENSIONS.get(image.format or "", EXTENSIONS["JPEG"])
        try:
            width, height = _rgb(image).size
        except Exception:  # likewise
            return Picture(Status.TRUNCATED)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(Status.OK, None, digest, extension, width, height)


def to_rgb(data: bytes) -> Image.Image:
    """The picture as a viewer shows it: rotated by EXIF, in RGB, white where transparent.

    Args:
        data: bytes for which `check` gave OK.
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
