"""The folder of pictures: its files, and which item each belongs to.

Imports nothing heavy: the fingerprint lists the folder without loading an image library.
"""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple
from unicodedata import normalize

from brmrs.errors import UserError
from brmrs.suggest import instead

LOG = logging.getLogger(__name__)
NOTHING_NAMED: Mapping[str, Sequence[str]] = MappingProxyType({})
EXAMPLES = 3  # names of each side in a warning
_NUMBERED = re.compile(r"(.+)[-_](\d{1,4})")  # ID_0.jpg, ID_1.jpg, ...


class PictureFiles(NamedTuple):
    """The files of a folder.

    Attributes:
        named: path below the folder (parts joined by "/") and path, the top level first, by name.
        left_out: unreadable entries: broken or circular links, sub-folders without permission.
    """

    named: list[tuple[str, Path]]
    left_out: list[str]


def picture_files(folder: Path) -> PictureFiles:
    """The files of a folder and its sub-folders, without hidden ones.

    Links to files are followed, links to folders are not.

    Raises:
        UserError: the folder cannot be read.
    """
    named: list[tuple[str, Path]] = []
    left_out: list[str] = []

    def failed(error: OSError) -> None:
        if error.filename is None or Path(error.filename) == folder:
            advice = instead(folder, "correct the path")
            raise UserError(f"images.folder: {folder}: {error.strerror}; {advice}")
        left_out.append(_below(folder, error.filename))

    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            below = _below(folder, path)
            try:
                if path.is_file():
                    named.append((below, path))
                elif path.is_symlink():
                    left_out.append(below)
            except OSError:
                left_out.append(below)
    named.sort(key=lambda pair: (pair[0].count("/"), pair[0]))
    return PictureFiles(named, sorted(left_out))


def _below(folder: Path, path: str | Path) -> str:
    return Path(path).relative_to(folder).as_posix()


def by_item(
    folder: Path, ids: Collection[str], named: Mapping[str, Sequence[str]] = NOTHING_NAMED
) -> dict[str, list[Path]]:
    """The files of each item that has any, in the order to try them.

    The files that the data name for an item come first. Otherwise a file belongs to the item whose
    id is its name without the extension. If there is none, a number at the end of the name is left
    out, too (`ID_0.jpg`). The sub-folder does not matter for ids.
    Warns if most of the items have no file and most of the files no item.

    Args:
        folder: of the pictures.
        ids: raw ids of the items; they are compared with file names, never made into paths.
        named: names of files by id, relative to the folder or to any folder above it. They are
            compared with the names of the files, never made into paths.

    Raises:
        UserError: the folder cannot be read.
    """
    files, left_out = picture_files(folder)
    if left_out:
        LOG.warning(
            "images.folder: %d of its entries cannot be read and are left out: %s",
            len(left_out),
            _examples(left_out),
        )
    wanted = set(ids)
    composed = {normalize("NFC", item): item for item in sorted(wanted)}
    found: dict[str, list[Path]] = defaultdict(list)
    numbered: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    without_item = []
    there = dict(files)
    composed_files = {normalize("NFC", below): below for below in sorted(there)}
    owned = {}
    for item, names in named.items():
        for name in names:
            below = _in_folder(name, there, composed_files)
            if below is not None and there[below] not in found[item]:
                owned[below] = item
                found[item].append(there[below])
    for name, path in files:
        if name in owned:
            continue
        stem = PurePosixPath(name).stem
        match = _NUMBERED.fullmatch(stem)
        if (owner := _spelled(stem, wanted, composed)) is not None:
            found[owner].append(path)
        elif match and (owner := _spelled(match[1], wanted, composed)) is not None:
            numbered[owner].append((int(match[2]), path))
        else:
            without_item.append(name)
    for item, more in numbered.items():
        found[item] += [path for _, path in sorted(more, key=lambda pair: pair[0])]
    found = {item: paths for item, paths in found.items() if paths}
    _warn(folder, sorted(wanted - found.keys()), len(wanted), without_item, len(files))
    return found


def _spelled(name: str, ids: Collection[str], composed: Mapping[str, str]) -> str | None:
    """The id, or file, of this name. Some systems write "é" as two characters (NFD)."""
    return name if name in ids else composed.get(normalize("NFC", name))


def _in_folder(name: str, there: Collection[str], composed: Mapping[str, str]) -> str | None:
    """The name of the file below the folder: the longest end of `name` that is a file there."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    found = (_spelled(end, there, composed) for end in ends)
    return next((below for below in found if below is not None), None)


def _warn(
    folder: Path, without_file: Sequence[str], items: int, without_item: Sequence[str], files: int
) -> None:
    """Warn if few names of files match ids of items."""
    if not items or 2 * len(without_file) <= items or 2 * len(without_item) < files:
        return
    LOG.warning(
        "images.folder: %s: %d of %d items have a file there, and %d of %d files belong to an "
        "item; ids without a file: %s; files without an item: %s; name a file by the id of its "
        "item (ID.jpg or ID_0.jpg)",
        folder,
        items - len(without_file),
        items,
        files - len(without_item),
        files,
        _examples(without_file),
        _examples(without_item),
    )


def _examples(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:EXAMPLES]) or "none"
