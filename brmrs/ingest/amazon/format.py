"""The format `amazon`: raw reviews and metadata of the public Amazon data sets."""

from collections.abc import Sequence
from pathlib import Path

from brmrs.config.data import IngestConfig
from brmrs.extensions import register
from brmrs.ingest.amazon.kinds import by_kind, configured_files
from brmrs.ingest.amazon.metadata import read_items
from brmrs.ingest.dataset import Dataset
from brmrs.ingest.files import dump_files

PATHS = "paths"


@register("amazon", "dump format")
class Amazon:
    """Review files and metadata files of 2014, 2018 and 2023, recognised line by line."""

    fields = ("reviews", "metadata", "k", "min_rating", "max_bad_share", "allow_truncated")

    def sniff(self, paths: Sequence[Path]) -> IngestConfig:
        """Reviews and metadata by content. A file that is neither counts as reviews."""
        reviews, metadata = by_kind(dump_files(paths, PATHS))
        return IngestConfig(reviews=tuple(reviews), metadata=tuple(metadata))

    def read(self, config: IngestConfig) -> Dataset:
        """Read the reviews. The metadata are read when items are asked for."""
        from brmrs.ingest.amazon.encode_ids import encode_reviews  # heavy: not for `brmrs plan`

        files = configured_files(config)
        encoded, reading = encode_reviews(files["reviews"], config)
        return Dataset(
            encoded.interactions(),
            encoded.user.ids,
            encoded.item.ids,
            lambda asins: read_items(files["metadata"], asins, config),
            reading,
        )

    def fingerprint(self, config: IngestConfig) -> dict[str, list[Path]]:
        """The review files and the metadata files."""
        return configured_files(config)
