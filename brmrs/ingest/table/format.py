"""The format `table`: interactions, items and users in tables of your own."""

from collections.abc import Sequence
from pathlib import Path

from brmrs.config.data import OF_TABLES, IngestConfig
from brmrs.errors import UserError
from brmrs.extensions import register
from brmrs.ingest.dataset import Dataset, Descriptions
from brmrs.ingest.files import TABLE_NAME, dump_files
from brmrs.suggest import instead

NAME = "table"
TABLES = ("interactions", "items", "users")


@register("table", "dump format")
class Table:
    """CSV, TSV, JSON lines, Parquet or RecBole's atomic files, with any names of columns."""

    fields = (*OF_TABLES, "k", "min_rating", "max_bad_share", "allow_truncated")

    def sniff(self, paths: Sequence[Path]) -> IngestConfig | None:
        """Tables whose columns show a user and an item, unless they are an Amazon dump."""
        from brmrs.ingest.table.recognise import recognise  # heavy: not for `brmrs plan`

        return recognise(paths)

    def read(self, config: IngestConfig) -> Dataset:
        """Read the interactions. Items and vectors are read when items are asked for."""
        from brmrs.ingest.table import rows, users

        files = self.fingerprint(config)
        interactions, user_ids, item_ids, reading, given = rows.read(config)
        if files["users"]:
            users.compare(config, user_ids, reading)
        return Dataset(
            interactions,
            user_ids,
            item_ids,
            lambda asins: _describe(config, asins),
            reading,
            given,
        )

    def fingerprint(self, config: IngestConfig) -> dict[str, list[Path]]:
        """The tables, and the files of vectors."""
        if not config.interactions:
            raise UserError(
                "ingest.interactions: no table is configured; set ingest.interactions=PATH"
            )
        files = {
            field: dump_files(getattr(config, field), f"ingest.{field}", TABLE_NAME)
            for field in TABLES
        }
        for field in ("text_vectors", "visual_vectors"):
            files[field] = list(getattr(config, field))
            for path in files[field]:
                if not path.is_file():
                    advice = instead(path, "correct the path")
                    raise UserError(f"ingest.{field}: {path}: no such file; {advice}")
        return files


def _describe(config: IngestConfig, asins: list[str]) -> Descriptions:
    from brmrs.ingest.table import items, vectors

    found = items.read(config, asins)
    return Descriptions(found.items, found.reading, vectors.read(config, asins))
