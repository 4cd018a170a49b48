"""Fetched pictures by address, for later runs: a new dump fetches only new addresses."""

import shutil
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from brmrs.system.files import digest_file, replacing


class AddressCache:
    """A folder of files `<hash of the address>.<SHA-256 of the bytes>.<extension>`.

    If the file system supports hard links, the files are links to those of the artifacts and take
    no space.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, address: str) -> Path | None:
        """The cached file of an address; None if it is missing or damaged."""
        path = self._index.get(address_hash(address))
        if path is None:
            return None
        try:
            intact = digest_file(path) == path.name.split(".")[1]
        except OSError:
            return None
        return path if intact else None

    def add(self, address: str, file: Path) -> None:
        """Add a file that is named by its content."""
        link(file, self._folder / f"{address_hash(address)}.{file.name}")

    @cached_property
    def _index(self) -> dict[str, Path]:
        return {path.name.partition(".")[0]: path for path in sorted(self._folder.glob("*"))}


def address_hash(address: str) -> str:
    """Names the files of an address."""
    return sha256(address.encode("utf-8", "surrogatepass")).hexdigest()


def link(source: Path, target: Path) -> None:
    """Copy or link a file to another place atomically; a file there is replaced."""
    if target.exists() and target.samefile(source):  # renaming a link to another does nothing
        return
    with replacing(target) as part:
        try:
            part.hardlink_to(source)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, part)
