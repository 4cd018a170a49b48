"""The format `amazon`: raw reviews and metadata of the public Amazon data sets."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from brmrs.config.data import IngestConfig
from brmrs.extensions import register
from brmrs.ingest.amazon.kinds import by_kind, configured_files
from brmrs.ingest.amazon.metadata import read_items
from brmrs.ingest.dataset import Dataset, Descriptions, Reading
from brmrs.ingest.files import dump_files
from brmrs.ingest.gathering import Gathering
from brmrs.ingest.streams import AnySink

PATHS = "paths"


@register("amazon", "dump format")
class Amazon:
    """Review files and metadata files of 2014, 2018 and 2023, recognised line by line."""

    fields: Collection[str] = (
        "reviews",
        "metadata",
        "k",
        "min_rating",
        "max_bad_share",
        "allow_truncated",
        "memory",
    )
    describing = "metadata"

    def sniff(self, paths: Sequence[Path]) -> IngestConfig:
        """Reviews and metadata by content. A file that is neither counts as reviews."""
        reviews, metadata = by_kind(dump_files(paths, PATHS))
        return IngestConfig(reviews=tuple(reviews), metadata=tuple(metadata))

    def read(self, config: IngestConfig) -> Dataset:
        """Read the reviews. The metadata are read when items are asked for."""
        from brmrs.ingest.amazon.encode_ids import encode_reviews  # heavy: not for `brmrs plan`

        def described(asins: list[str]) -> Descriptions:
            rows = Gathering(asins, self.describing)
            self.describe(config, rows)
            return rows.finish()

        encoded, reading = encode_reviews(configured_files(config)["reviews"], config)
        users, asins = encoded.user.ids, encoded.item.ids
        return Dataset(encoded.interactions(), users, asins, described, reading)

    def stream(
        self, config: IngestConfig, new_sink: Callable[[], AnySink]
    ) -> tuple[AnySink, Reading]:
        """Give the rows of the reviews to a sink."""
        from brmrs.ingest.amazon.encode_ids import read_reviews

        return read_reviews(configured_files(config)["reviews"], config, new_sink)

    def describe(self, config: IngestConfig, rows: Gathering) -> None:
        """Add the rows of the metadata."""
        read_items(configured_files(config)["metadata"], config, rows)

    def fingerprint(self, config: IngestConfig) -> dict[str, list[Path]]:
        """The review files and the metadata files."""
        return configured_files(config)
