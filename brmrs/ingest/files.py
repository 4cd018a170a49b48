"""The files that a configured path names: itself, or the files of a folder."""

import re
from collections.abc import Iterable
from pathlib import Path

from brmrs.errors import UserError
from brmrs.suggest import instead

DUMP_NAME = re.compile(
    r"[^.].*\.(json|jsonl|ndjson|csv|tsv)(\.(gz|zst|zstd|bz2|xz))?", re.IGNORECASE
)

TABLE_NAME = re.compile(
    r"[^.].*\.((json|jsonl|ndjson|csv|tsv|txt|inter|item|user)(\.(gz|zst|zstd|bz2|xz))?|parquet|pq)",
    re.IGNORECASE,
)


def dump_files(
    paths: Iterable[Path], field: str, pattern: re.Pattern[str] = DUMP_NAME
) -> list[Path]:
    """The dump files that `paths` name: each file, and the dump files of each folder.

    Of a folder, the files that are named like a dump (`.json`, `.jsonl`, `.ndjson`, `.csv`,
    `.tsv`, also with `.gz`, `.zst`, `.zstd`, `.bz2`, `.xz`) count. Hidden files and sub-folders do
    not. Each file once, sorted by name.

    Args:
        paths: files and folders.
        field: the configuration field they come from, for the error.
        pattern: of the names that count in a folder.

    Raises:
        UserError: a path does not exist, or a folder holds no dump file.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for member in _members(path, field, pattern) if path.is_dir() else [path]:
            if not member.is_file():
                advice = instead(member, "correct the path")
                raise UserError(f"{field}: {member}: no such file; {advice}")
            found.setdefault(member.resolve(), member)
    return sorted(found.values(), key=lambda member: (member.name, str(member)))


def members(folder: Path, field: str, pattern: re.Pattern[str] = DUMP_NAME) -> list[Path]:
    """The files of a folder that are named like a dump, sorted by name.

    Raises:
        UserError: it is no folder, or cannot be read.
    """
    return [path for path in listing(folder, field) if pattern.fullmatch(path.name)]


def _members(folder: Path, field: str, pattern: re.Pattern[str]) -> list[Path]:
    found = members(folder, field, pattern)
    if not found:
        raise UserError(
            f"{field}: {folder}: the folder holds no dump file (*.json, *.jsonl, *.ndjson, *.csv, "
            "*.tsv, also with .gz, .zst, .bz2, .xz); name the files themselves"
        )
    return found


def listing(folder: Path, field: str) -> list[Path]:
    """The files of a folder that are not hidden, sorted by name; sub-folders are left out.

    Raises:
        UserError: it is no folder, or cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        advice = instead(folder, "correct the path")
        raise UserError(f"{field}: {folder}: {error.strerror}; {advice}") from error
    return [folder / name for name in names if (folder / name).is_file()]
