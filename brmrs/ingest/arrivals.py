"""New dumps: which files of the configured places are complete, and which of them to train on.

A file is complete once it has not changed for `retrain.at_rest` seconds and, where compressed, ends
with the end of a gzip member or a zstd frame. Of a plain file, and of a compressed one that stops
right between two members, the rest alone tells.
"""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest.amazon.lines import CutOffError, read_blocks
from brmrs.ingest.files import members
from brmrs.system.files import digest_file

LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_LOOKS = 0.5
FILES_REMEMBERED = 4096
FIELDS = ("reviews", "metadata")

# Size, time of the last change in ns, inode: a file where these stand is not read twice.
_Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Arrivals:
    """What lies in the configured places.

    Attributes:
        files: by field ("reviews", "metadata") the complete files that count, with their SHA-256.
        unfinished: files that are left out for now, and why.
    """

    files: dict[str, dict[Path, str]]
    unfinished: dict[Path, str]

    @property
    def contents(self) -> dict[str, list[str]]:
        """What the files hold, whatever they are called: sorted digests by field, each once."""
        return {field: sorted(set(found.values())) for field, found in self.files.items()}

    def into(self, config: PipelineConfig) -> PipelineConfig:
        """The configuration with these files as its dump; of those with equal bytes the first."""
        files = {}
        for field, found in self.files.items():
            first = {digest: path for path, digest in reversed(found.items())}
            files[field] = tuple(sorted(first.values()))
        return config.model_copy(update={"ingest": config.ingest.model_copy(update=files)})


def look(config: PipelineConfig, known: Collection[str] = ()) -> Arrivals:
    """Find the complete files.

    Args:
        config: its `ingest` names files and folders, its `retrain` says which of a folder count.
        known: digests of files that were complete before; they are not decompressed again.

    Raises:
        UserError: a place does not exist or cannot be read, or a benchmark is configured.
    """
    if config.ingest.format != "amazon":
        raise UserError("ingest.format: retraining takes raw dumps (amazon), no ready-made split")
    files: dict[str, dict[Path, str]] = {field: {} for field in FIELDS}
    unfinished: dict[Path, str] = {}
    for field, place in _places(config):
        faults = {path: _fault(path, config, known) for path in _files(place, field)}
        unfinished |= {path: fault for path, fault in faults.items() if fault}
        complete = [path for path, fault in faults.items() if not fault]
        if config.retrain.dumps == "replace":
            complete = sorted(complete, key=_last_change)[-1:]
        files[field] |= {path: _digest(path, _signature(path)) for path in complete}
    return Arrivals(files, unfinished)


def let_rest(config: PipelineConfig) -> None:
    """Give the files that changed a moment ago the time to come to rest.

    Raises:
        UserError: a place does not exist or cannot be read.
    """
    at_rest = config.retrain.at_rest
    ages = [_age(path) for field, place in _places(config) for path in _files(place, field)]
    young = [age for age in ages if 0 <= age < at_rest]
    if young:
        LOG.info("a dump changed %.0f s ago; waiting for it to come to rest", min(young))
        time.sleep(at_rest - min(young))


def absent(config: PipelineConfig) -> list[Path]:
    """The configured places where there is nothing, neither a file nor a folder."""
    return [place for _, place in _places(config) if not place.exists()]


def named_files(config: PipelineConfig) -> list[Path]:
    """The configured places that are no folders: nothing is trained while one is incomplete."""
    return [place for _, place in _places(config) if not place.is_dir()]


def wait_for(path: Path, config: PipelineConfig, known: Collection[str] = ()) -> None:
    """Return once a file is complete.

    Args:
        path: the file.
        config: as for `look`.
        known: as for `look`.

    Raises:
        UserError: it lies in no configured place, or is not complete in time.
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
    return [(field, place) for field in FIELDS for place in getattr(config.ingest, field)]


def _files(place: Path, field: str) -> list[Path]:
    return members(place, f"ingest.{field}") if place.is_dir() else [place]


def _last_change(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _fault(path: Path, config: PipelineConfig, known: Collection[str]) -> str | None:
    """Why a file is not complete, or None."""
    age = _age(path)
    if 0 <= age < config.retrain.at_rest:  # a time in the future says nothing
        return f"changed {age:.0f} s ago"
    signature = _signature(path)
    if signature[0] == 0:
        return "is empty"
    if config.ingest.allow_truncated or _digest(path, signature) in known:
        return None
    return _cut_off(path, signature)


def _age(path: Path) -> float:
    """Seconds since the last change."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; correct the path") from error


def _signature(path: Path) -> _Signature:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


@lru_cache(FILES_REMEMBERED)
def _digest(path: Path, signature: _Signature) -> str:
    del signature
    return digest_file(path)


@lru_cache(FILES_REMEMBERED)
def _cut_off(path: Path, signature: _Signature) -> str | None:
    """Whether compressed data end too early. Other damage is told by the run that reads them."""
    del signature
    try:
        for _ in read_blocks(path, lambda _: None):
            pass
    except CutOffError:
        return "ends in the middle of its compressed data"
    except UserError:
        pass
    return None
