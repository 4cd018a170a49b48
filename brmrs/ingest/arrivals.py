"""New dumps: which files of the configured places are complete, and which of them to train on.

A file is complete once it has not changed for `retrain.at_rest` seconds. A compressed file must
also end with the end of a gzip member or a zstd frame. The time since the last change is the only
sign for a plain file, and for a compressed one that stops exactly between two members.

Files in a folder that hold neither reviews nor metadata are left out and reported, so they do not
stop retraining. A file that the configuration names is always read.
"""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest import formats
from brmrs.ingest.amazon.kinds import kind_of
from brmrs.ingest.files import DUMP_NAME, TABLE_NAME, members
from brmrs.ingest.lines import CutOffError, read_blocks
from brmrs.suggest import instead
from brmrs.system.files import digest_unchanged

LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_LOOKS = 0.5
FILES_REMEMBERED = 4096
# Fields of the section `ingest` by format; the first names the files that bring interactions.
FIELDS = {"amazon": ("reviews", "metadata"), "table": ("interactions", "items", "users")}
PARQUET = b"PAR1"  # the first and the last bytes

# Size, times of the last change of content and of status in ns, inode: a file is read again only if
# one of them changes. The time of the content can be set back, that of the status cannot.
_Signature = tuple[int, int, int, int]


@dataclass(frozen=True)
class Arrivals:
    """The files in the configured places.

    Attributes:
        files: by field (see `FIELDS`) the complete files that count, with their SHA-256.
        unfinished: files that are not complete yet, and why.
        set_aside: files in folders that are not dumps, and why.
    """

    files: dict[str, dict[Path, str]]
    unfinished: dict[Path, str]
    set_aside: dict[Path, str]

    @property
    def has_interactions(self) -> bool:
        """Whether a complete file brings interactions."""
        return any(self.files.get(fields[0]) for fields in FIELDS.values())

    @property
    def contents(self) -> dict[str, list[str]]:
        """The distinct digests of the files by field, sorted. File names do not matter."""
        return {field: sorted(set(found.values())) for field, found in self.files.items()}

    def into(self, config: PipelineConfig) -> PipelineConfig:
        """The configuration with these files as its dump; of equal files only the first."""
        files = {}
        for field, found in self.files.items():
            first = {digest: path for path, digest in reversed(found.items())}
            files[field] = tuple(sorted(first.values()))
        return config.model_copy(update={"ingest": config.ingest.model_copy(update=files)})


def look(config: PipelineConfig, known: Collection[str] = ()) -> Arrivals:
    """Find the complete files.

    Args:
        config: `ingest` names files and folders, `retrain` selects files in a folder.
        known: digests of files that were complete before; they are not decompressed again.

    Raises:
        UserError: a place does not exist or cannot be read, or the format has no files of
            interactions.
    """
    if not _fields(config):
        raise UserError(
            f"ingest.format: {config.ingest.format} has no ingest.reviews, where retraining looks "
            "for new files; set ingest.format=amazon or table"
        )
    files: dict[str, dict[Path, str]] = {field: {} for field in _fields(config)}
    unfinished: dict[Path, str] = {}
    set_aside: dict[Path, str] = {}
    for field, place in _places(config):
        faults = {path: _fault(path, config, known) for path in _files(place, field)}
        unfinished |= {path: fault for path, fault in faults.items() if fault}
        complete = [path for path, fault in faults.items() if not fault]
        if place.is_dir():
            damaged = {path: _damage(path, known) for path in complete}
            set_aside |= {path: damage for path, damage in damaged.items() if damage}
            complete = [path for path in complete if path not in set_aside]
        for kind, paths in _by_kind(complete, field, place, config, set_aside).items():
            if config.retrain.dumps == "replace":
                paths = sorted(paths, key=_last_change)[-1:]
            files[kind] |= {path: _digest(path, _signature(path)) for path in paths}
    return Arrivals(files, unfinished, set_aside)


def _fields(config: PipelineConfig) -> tuple[str, ...]:
    """The fields that name the files of the configured format; none for a ready-made data set."""
    known = formats.get(config.ingest.format, config.plugins).fields
    return next((fields for fields in FIELDS.values() if fields[0] in known), ())


def _by_kind(
    paths: list[Path],
    field: str,
    place: Path,
    config: PipelineConfig,
    set_aside: dict[Path, str],
) -> dict[str, list[Path]]:
    """The complete files of a place by kind. Files of no kind are set aside."""
    if not place.is_dir():
        return {field: paths}
    is_table = config.ingest.format == "table"
    kinds: dict[str, list[Path]] = {kind: [] for kind in _fields(config)}
    for path in paths:
        if is_table:
            kind, reason = _kind_of_table(path, field, config)
        else:
            kind, reason = _kind(path, _signature(path))
        if kind is None:
            set_aside[path] = reason
        elif field in ("reviews", kind):  # ignore reviews in a folder of metadata
            kinds[kind].append(path)
    return kinds


def _kind_of_table(path: Path, field: str, config: PipelineConfig) -> tuple[str | None, str]:
    """The field itself if the table has its columns; or None and why it has not."""
    from brmrs.ingest.table import names  # polars: not for `brmrs plan`
    from brmrs.ingest.table.head import read_head

    find = {"interactions": names.interactions, "items": names.items, "users": names.users}[field]
    try:
        find(read_head(path), config.ingest.columns)
    except UserError as error:
        return None, str(error)
    return field, ""


def let_rest(config: PipelineConfig) -> None:
    """Wait until recently changed files are at rest.

    Raises:
        UserError: a place does not exist or cannot be read.
    """
    at_rest = config.retrain.at_rest
    ages = [_age(path) for field, place in _places(config) for path in _files(place, field)]
    young = [age for age in ages if 0 <= age < at_rest]
    if young:
        LOG.info("a dump changed %.0f s ago; waiting until it is at rest", min(young))
        time.sleep(at_rest - min(young))


def absent(config: PipelineConfig) -> list[Path]:
    """The configured places that do not exist."""
    return [place for _, place in _places(config) if not place.exists()]


def named_files(config: PipelineConfig) -> list[Path]:
    """The configured places that are not folders. Training waits until all are complete."""
    return [place for _, place in _places(config) if not place.is_dir()]


def wait_for(path: Path, config: PipelineConfig, known: Collection[str] = ()) -> None:
    """Return once a file is complete.

    Args:
        path: the file.
        config: as for `look`.
        known: as for `look`.

    Raises:
        UserError: it is in no configured place, or is not complete in time.
    """
    places = {place.resolve() for _, place in _places(config)}
    if path.is_dir() or not places & {path.resolve(), path.parent.resolve()}:
        raise UserError(
            f"{path}: no file in a place that ingest.reviews or ingest.metadata names; "
            "correct the path, or move the file there"
        )
    deadline = time.monotonic() + config.retrain.timeout
    while fault := _fault(path, config, known):
        if time.monotonic() > deadline:
            raise UserError(
                f"{path} {fault}, {config.retrain.timeout:g} s after the first look; write it to "
                "its end, or raise retrain.timeout"
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _places(config: PipelineConfig) -> list[tuple[str, Path]]:
    """Every file and folder that the configuration names, with its field."""
    return [(field, place) for field in _fields(config) for place in getattr(config.ingest, field)]


def _files(place: Path, field: str) -> list[Path]:
    pattern = TABLE_NAME if field in FIELDS["table"] else DUMP_NAME
    return members(place, f"ingest.{field}", pattern) if place.is_dir() else [place]


def _last_change(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _fault(path: Path, config: PipelineConfig, known: Collection[str]) -> str | None:
    """Why a file is not complete, or None."""
    age = _age(path)
    if 0 <= age < config.retrain.at_rest:  # a time in the future is no information
        return f"changed {age:.0f} s ago"
    signature = _signature(path)
    if signature[0] == 0:
        return "is empty"
    if config.ingest.allow_truncated or _digest(path, signature) in known:
        return None
    return _read_through(path, signature)[0]


def _damage(path: Path, known: Collection[str]) -> str | None:
    """The damage of compressed data, except truncation; None for intact or known files."""
    signature = _signature(path)
    return None if _digest(path, signature) in known else _read_through(path, signature)[1]


def _age(path: Path) -> float:
    """Seconds since the last change."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError as error:
        advice = instead(path, "correct the path")
        raise UserError(f"{path}: no such file; {advice}") from error


def _signature(path: Path) -> _Signature:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@lru_cache(FILES_REMEMBERED)
def _digest(path: Path, signature: _Signature) -> str:
    del signature
    return digest_unchanged(path)


@lru_cache(FILES_REMEMBERED)
def _kind(path: Path, signature: _Signature) -> tuple[str | None, str]:
    """The kind of a file, by its first lines; or None and why it is not a dump."""
    del signature
    try:
        kind = kind_of(path)
    except UserError as error:
        return None, str(error)
    return kind, "" if kind else f"{path}: none of the first lines is a review or metadata"


@lru_cache(FILES_REMEMBERED)
def _read_through(path: Path, signature: _Signature) -> tuple[str | None, str | None]:
    """How compressed data are truncated, and how they are damaged otherwise; else None."""
    del signature
    if found := _fault_of_parquet(path):
        return found
    try:
        for _ in read_blocks(path, lambda _: None):
            pass
    except CutOffError:
        return "ends in the middle of its compressed data", None
    except UserError as error:
        return None, str(error)
    return None, None


def _fault_of_parquet(path: Path) -> tuple[str | None, str | None] | None:
    """The same for a Parquet file, whose last bytes are written last; None for other files."""
    with path.open("rb") as file:
        if file.read(len(PARQUET)) != PARQUET:
            return None
        file.seek(-len(PARQUET), 2)
        is_whole = file.read() == PARQUET
    return (None, None) if is_whole else ("ends in the middle of a Parquet file", None)
