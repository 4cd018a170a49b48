"""Records: the artifact of each cache key, and the parts of the key."""

import json
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import from_json

from brmrs.stages import INCOMPLETE, STAGE_CACHE
from brmrs.system import untrusted
from brmrs.system.files import digest_json
from brmrs.system.untrusted import Digest, Name, RelativePath

_SCHEMA = ConfigDict(allow_inf_nan=False, revalidate_instances="never")
_Size = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=_SCHEMA)
class Artifact:
    """The output of a stage.

    Attributes:
        stage: its name.
        digest: hex SHA-256 over the sorted (name, SHA-256) pairs of its files.
        files: SHA-256 of each file, by its path relative to the artifact's folder.
        bytes: total size.
    """

    stage: Name
    digest: Digest
    files: dict[RelativePath, Digest]
    bytes: _Size

    @property
    def complete(self) -> bool:
        """Whether another run may use it (see `brmrs.stages.INCOMPLETE`)."""
        return INCOMPLETE not in self.files

    def digest_of(self, read: str) -> str:
        """Digest of a declared input (see `Stage.reads`): of one file, of a folder, or of all.

        Raises:
            KeyError: the artifact holds no such file.
        """
        _, slash, file = read.partition("/")
        if file.endswith("/"):
            below = {name: digest for name, digest in self.files.items() if name.startswith(file)}
            return digest_json(below)
        return self.files[file] if slash else self.digest


def _checked_notes(notes: dict[str, Any]) -> dict[str, Any]:
    """The note that garbage collection reads has to be a list of paths."""
    _PATHS.validate_python(notes.get(STAGE_CACHE, []))
    return notes


def _checked_parts(parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Digests and versions are strings; values of the configuration are any JSON."""
    for kind in parts.keys() - {"configuration"}:
        _TEXTS.validate_python(parts[kind])
    return parts


_PATHS = TypeAdapter(list[RelativePath])
_TEXTS = TypeAdapter(dict[str, str])


@dataclass(frozen=True, config=_SCHEMA)
class Record:
    """The origin of an artifact.

    Attributes:
        key: the cache key.
        parts: the parts of the key (see `brmrs.store.keys`).
        artifact: the output of the stage under that key.
        run: the run that wrote it.
        seconds: how long the stage took then.
        peak_memory_bytes: the most memory its process held then (see `brmrs.system.machine`);
            0: unknown.
        machine: the machine that it ran on (see `brmrs.system.machine`).
        notes: see `StageContext.notes`.
    """

    key: Digest
    parts: Annotated[dict[str, dict[str, Any]], AfterValidator(_checked_parts)]
    artifact: Artifact
    run: Name
    seconds: Annotated[float, Field(ge=0)]
    peak_memory_bytes: _Size = 0
    machine: dict[str, Any] = field(default_factory=dict)
    notes: Annotated[dict[str, Any], AfterValidator(_checked_notes)] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {**vars(self), "artifact": vars(self.artifact)}

    def to_text(self) -> str:
        """The record as JSON text, which `from_text` reads."""
        return json.dumps(self.to_json(), sort_keys=True)


SCHEMA = TypeAdapter(Record)


def read_record(path: Path) -> Record | None:
    """A record file; None if it is missing or damaged.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        return untrusted.read(path, SCHEMA)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None


def from_text(text: str) -> Record:
    """The record that `Record.to_text` wrote."""
    return SCHEMA.validate_python(from_json(text))
