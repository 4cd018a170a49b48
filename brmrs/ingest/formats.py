"""The dump formats by name: the built-in ones, and those that a plug-in registers."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.amazon.format import AMAZON
from brmrs.ingest.dataset import DumpFormat
from brmrs.ingest.ready_made.format import READY_MADE

_FORMATS: dict[str, DumpFormat] = {each.name: each for each in (READY_MADE, AMAZON)}


def register(dump_format: DumpFormat) -> DumpFormat:
    """Add a format, or replace the one of the same name."""
    _FORMATS[dump_format.name] = dump_format
    return dump_format


def get(name: str) -> DumpFormat:
    """The format of a name.

    Raises:
        UserError: there is none.
    """
    if name in _FORMATS:
        return _FORMATS[name]
    near = get_close_matches(name, _FORMATS, 1)
    hint = f"did you mean {near[0]}?" if near else "a plug-in may add another (see plugins)"
    raise UserError(
        f"ingest.format: no format {name!r}; the formats are {', '.join(sorted(_FORMATS))}; {hint}"
    )


def sniff(paths: Sequence[Path]) -> IngestConfig:
    """The configuration that reads these files: of the first format that recognises them.

    Formats of plug-ins are asked first. `amazon` is asked last, and its reader reports what is
    wrong with files that no format recognises.

    Raises:
        UserError: a path cannot be read.
    """
    others = [each for each in reversed(_FORMATS.values()) if each is not AMAZON]
    for each in others:
        if config := each.sniff(paths):
            return config
    return AMAZON.sniff(paths)
