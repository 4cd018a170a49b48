"""The dump formats by name: the built-in ones, and those of plug-ins (see `brmrs.extensions`)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from brmrs import extensions
from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.extensions import Extension
from brmrs.ingest.dataset import DumpFormat

KIND: extensions.Kind = "dump format"
LAST = "amazon"  # tried last for unknown files, because its reader reports what is wrong


def extension(name: str, plugins: Iterable[Path] = ()) -> Extension:
    """The format of a name, not yet loaded.

    Raises:
        UserError: there is none.
    """
    found = extensions.look_up(KIND, name, plugins)
    if found is None:
        there = extensions.known(KIND, plugins)
        raise UserError(f"ingest.format: {extensions.missing(KIND, name, there)}")
    return found


def get(name: str, plugins: Iterable[Path] = ()) -> DumpFormat:
    """The format of a name.

    Raises:
        UserError: there is none, or its plug-in cannot be imported.
    """
    dump_format: DumpFormat = extension(name, plugins).load()()
    return dump_format


def sniff(paths: Sequence[Path], plugins: Iterable[Path] = ()) -> IngestConfig:
    """The configuration that reads these files: of the first format that recognises them.

    Raises:
        UserError: a path cannot be read, or no format recognises it.
    """
    names = sorted(extensions.known(KIND, plugins), key=lambda name: (name == LAST, name))
    for name in names:
        if config := get(name, plugins).sniff(paths):
            return config
    raise UserError(f"no dump format recognises {', '.join(map(str, paths))}")
