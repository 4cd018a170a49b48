"""The format `ready-made`: see `layout`."""

from collections.abc import Sequence
from pathlib import Path

from brmrs.config.data import IngestConfig
from brmrs.extensions import register
from brmrs.ingest.dataset import Dataset
from brmrs.ingest.ready_made import layout


@register("ready-made", "dump format")
class ReadyMade:
    """A folder with a `*.inter` file, which is already filtered and split."""

    fields = ("path",)

    def sniff(self, paths: Sequence[Path]) -> IngestConfig | None:
        """One folder with a `*.inter` file."""
        if len(paths) == 1 and paths[0].is_dir() and any(paths[0].glob(f"*{layout.INTERACTIONS}")):
            return IngestConfig(format=layout.NAME, path=paths[0])
        return None

    def read(self, config: IngestConfig) -> Dataset:
        """See `layout.read`."""
        return layout.read(config)

    def fingerprint(self, config: IngestConfig) -> dict[str, list[Path]]:
        """All files of the layout."""
        return {"path": layout.layout_files(config)}
