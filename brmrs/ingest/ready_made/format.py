"""The format `ready-made`: see `layout`."""

from collections.abc import Sequence
from pathlib import Path

from brmrs.columns import LAYOUT_SPLIT
from brmrs.config.data import IngestConfig
from brmrs.extensions import register
from brmrs.ingest.dataset import Dataset
from brmrs.ingest.ready_made import layout

HEADER_READ = 10_000  # bytes


@register("ready-made", "dump format")
class ReadyMade:
    """A folder with a `*.inter` file, which is already filtered and split."""

    fields = ("path",)

    def sniff(self, paths: Sequence[Path]) -> IngestConfig | None:
        """One folder with a `*.inter` file, unless that is one of RecBole's atomic files."""
        if len(paths) == 1 and paths[0].is_dir() and any(map(_has_no_types, _inter(paths[0]))):
            return IngestConfig(format=layout.NAME, path=paths[0])
        return None

    def read(self, config: IngestConfig) -> Dataset:
        """See `layout.read`."""
        return layout.read(config)

    def fingerprint(self, config: IngestConfig) -> dict[str, list[Path]]:
        """All files of the layout."""
        return {"path": layout.layout_files(config)}


def _inter(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{layout.INTERACTIONS}"))


def _has_no_types(path: Path) -> bool:
    """Whether the header lacks RecBole's types (user_id:token), or has the column of the split."""
    with path.open("rb") as file:
        header = file.readline(HEADER_READ)
    return b":token" not in header or LAYOUT_SPLIT.encode() in header
