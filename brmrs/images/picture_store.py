"""The scratch folder of the stage `images`: bytes by content hash, results by address."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from brmrs.images.address_cache import AddressCache, address_hash, link
from brmrs.images.decode import EXTENSIONS, Picture, Status, check
from brmrs.system import untrusted
from brmrs.system.files import digest_file, replacing

FILES = "files"
TABLE = "images.parquet"  # of the artifact: a row per item
_RECORD = TypeAdapter(Picture)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PictureStore:
    """Bytes by content hash and results by address, in a folder that survives a kill.

    Results that the next try may change (no connection, "too many requests") are not recorded.
    All file names are hashes.

    Attributes:
        folder: of this key only.
        cache: pictures that are OK, for other keys.
    """

    folder: Path
    cache: AddressCache | None = None

    def add(self, picture: Picture, data: bytes) -> None:
        """Store the bytes of a picture that is OK."""
        if picture.status == Status.OK:
            with replacing(self._file(self.folder, picture)) as part:
                part.write_bytes(data)

    def record(self, address: str, picture: Picture) -> None:
        """Store the result of an address. Call `add` before, because a record implies the bytes."""
        with replacing(self._record(address)) as part:
            part.write_text(json.dumps(asdict(picture)), encoding="utf-8")
        if self.cache and picture.status == Status.OK:
            self.cache.add(address, self._file(self.folder, picture))

    def find(self, address: str) -> Picture | None:
        """The recorded result of this address, if its bytes are there and undamaged."""
        try:
            picture = untrusted.read(self._record(address), _RECORD)
            if picture.status != Status.OK:
                return picture
            if not _names_a_file(picture):
                return None
            digest = digest_file(self._file(self.folder, picture))
        except (OSError, ValueError):
            return None
        return picture if digest == picture.sha256 else None

    def reuse(self, address: str, max_bytes: int, max_pixels: int) -> Picture | None:
        """The picture that another key fetched from this address, within this key's limits."""
        file = self.cache.find(address) if self.cache else None
        if file is None:
            return None
        picture = check(file.read_bytes(), max_bytes, max_pixels).at(address)
        if picture.status == Status.OK:
            link(file, self._file(self.folder, picture))
            self.record(address, picture)
        return picture

    def publish(self, pictures: Iterable[Picture], out: Path) -> None:
        """Put the bytes of all pictures that are OK under `out`, each content once."""
        for picture in {p.sha256: p for p in pictures if p.status == Status.OK}.values():
            link(self._file(self.folder, picture), self._file(out, picture))

    def _record(self, address: str) -> Path:
        name = address_hash(address)
        return self.folder / "fetched" / name[:2] / f"{name}.json"

    @staticmethod
    def _file(root: Path, picture: Picture) -> Path:
        name = picture.sha256 or ""
        return root / FILES / name[:2] / f"{name}.{picture.extension}"


def _names_a_file(picture: Picture) -> bool:
    """Whether content hash and extension can be parts of a file name: a record may be forged."""
    known = picture.extension in EXTENSIONS.values()
    return known and _SHA256.fullmatch(picture.sha256 or "") is not None


def stored_files(images: Path) -> dict[str, Path]:
    """The files of an `images` artifact by content hash."""
    return {path.stem: path for path in sorted((images / FILES).glob("*/*"))}
