"""The table of users: are their ids those of the interactions?"""

import logging

import polars as pl
import pyarrow as pa

from brmrs.config.data import IngestConfig
from brmrs.ingest.dataset import Reading
from brmrs.ingest.table import names
from brmrs.ingest.table.reading import Tables
from brmrs.ingest.table.values import stripped

LOG = logging.getLogger(__name__)
SHOWN = 3  # ids in a warning


def compare(config: IngestConfig, user_ids: pa.Array, reading: Reading) -> None:
    """Compare the ids of the tables of users with those of the interactions.

    Adds to `reading.notes` the numbers of users in the tables, of those without interactions, and
    of users of interactions that the tables lack. Logs the last ones.

    Raises:
        UserError: a table cannot be read, or too many rows are bad.
    """
    tables = Tables("ingest.users", config.users, config)
    parts: list[pl.Series] = []
    for head in tables.heads:
        named = names.users(head, config.columns)
        tables.note(head, named)
        key = str(named.one("user"))
        for chunk in tables.chunks(head, [key]):
            ids = chunk.frame.select(stripped(key)).to_series()
            for line in chunk.lines[ids.is_null().to_numpy()].tolist():
                tables.reject(head.path, line, "no user id", "")
            tables.count(len(ids) - ids.null_count())
            parts.append(ids.drop_nulls().rename("id"))
    tables.end()
    listed = pl.concat(parts).unique()
    active = pl.Series(user_ids.to_pylist(), dtype=pl.String)
    unknown = active.filter(~active.is_in(listed.implode()))
    reading.columns |= tables.reading.columns
    reading.quarantine += tables.reading.quarantine
    reading.notes["users_in_tables"] = len(listed)
    reading.notes["users_without_interactions"] = len(listed) - (len(active) - len(unknown))
    reading.notes["users_not_in_tables"] = len(unknown)
    if len(unknown):
        LOG.warning(
            "ingest.users: %s of %s users of the interactions are not in the tables: %s; is it "
            "another spelling of the ids?",
            f"{len(unknown):,}",
            f"{len(active):,}",
            ", ".join(unknown[:SHOWN]),
        )
