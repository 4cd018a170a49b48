"""The configuration that `brmrs init` wrote beside data; `brmrs inspect` follows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from brmrs.config.data import IngestConfig
from brmrs.config.load import load_sections
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError

FILE = "brmrs.yaml"
SECTIONS = ("ingest", "split", "images")
TABLES = ("interactions", "items", "users")


class Known(NamedTuple):
    """What is configured for some data.

    Attributes:
        file: the configuration file; None: there is none, and the defaults hold.
        config: its sections `SECTIONS`; all others are the defaults.
        fault: why the file is not used; "" if it is.
    """

    file: Path | None
    config: PipelineConfig
    fault: str = ""

    def reads(self, other: IngestConfig) -> bool:
        """Whether the configuration reads the tables of another one, and no others."""
        ingest = self.config.ingest
        return ingest.format == other.format == "table" and all(
            _resolved(getattr(ingest, field)) == _resolved(getattr(other, field))
            for field in TABLES
        )


def known(paths: Sequence[Path]) -> Known:
    """The configuration beside these files or in these folders, if there is exactly one.

    Nothing that the file names is executed: it may have come with the data.
    """
    folders = {path if path.is_dir() else path.parent for path in paths}
    files = [file for folder in sorted(folders) if (file := folder / FILE).is_file()]
    if len(files) != 1:
        return Known(None, PipelineConfig())
    try:
        return Known(files[0], load_sections(files[0], SECTIONS))
    except UserError as error:
        return Known(None, PipelineConfig(), str(error))


def _resolved(paths: Sequence[Path]) -> set[Path]:
    return {path.resolve() for path in paths}
