"""Reads a dump out of core: from its rows to the tables of the stage `ingest`.

1. Rows are written to disk in chunks, with the distinct ids of each chunk as sorted runs.
2. The runs of users and of items are merged: an id's code is its position in sorted order.
3. The rows are distributed by ranges of users. Of each range the latest of every pair is kept.
4. The k-core is taken on the integers, in blocks.
5. What is kept is written in its order, which is that of the codes.

The rules (the latest of a pair, the minimum rating, the k-core) are the functions that also serve
data in memory, and the bytes are the same.
"""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from brmrs import columns
from brmrs.config.data import IngestConfig
from brmrs.ingest import tables
from brmrs.ingest.interactions import Interactions
from brmrs.ingest.kcore import Core, core_of, core_or_refuse, core_sizes
from brmrs.ingest.out_of_core.budget import Budget
from brmrs.ingest.out_of_core.chunks import Chunks
from brmrs.ingest.out_of_core.items import SpilledItems
from brmrs.ingest.out_of_core.pairs import Pairs, hold, latest_of_pairs
from brmrs.ingest.out_of_core.runs import Numbered, number
from brmrs.ingest.streams import StreamedFormat
from brmrs.system.files import remove

LOG = logging.getLogger(__name__)


def run(
    dump_format: StreamedFormat, config: IngestConfig, budget: Budget, out: Path
) -> dict[str, Any]:
    """Write the tables of the stage; its statistics. The scratch files are removed.

    Raises:
        UserError: as for data in memory.
    """
    try:
        return _run(dump_format, config, budget, out)
    finally:
        remove(budget.folder)


def _run(
    dump_format: StreamedFormat, config: IngestConfig, budget: Budget, out: Path
) -> dict[str, Any]:
    new_chunks = partial(Chunks, budget.folder, budget.chunk_rows)
    chunks, reading = dump_format.stream(config, new_chunks)
    LOG.info("ingest: %s reviews on disk, in %s chunks", f"{chunks.rows:,}", len(chunks.done))
    users, items, pairs = pairs_of(chunks, config, budget)
    LOG.info("ingest: %s distinct (user, item) pairs; taking cores", f"{pairs.distinct:,}")
    hold_blocks = partial(hold, budget.folder, at_once=budget.rows)
    before = core_of(pairs.blocks, 0).sizes()
    core = core_or_refuse(pairs.blocks, config.k, before, hold_blocks).without_blocks()
    LOG.info("ingest: the core is known; writing tables")
    counts = _write_interactions(out / "interactions.parquet", pairs, core)
    pairs.values.close()  # frees the disk
    _write_users(out / "users.parquet", users, core)
    asins = _kept(items, core.item)
    described = SpilledItems(asins, dump_format.describing, budget.folder, budget.memory // 4)
    dump_format.describe(config, described)
    write_items(out / "items.parquet", asins, described, counts)
    bad = reading.quarantine + described.reading.quarantine
    tables.write_quarantine(out / "quarantine.parquet", bad)
    return tables.statistics(
        reading,
        described.reading,
        before,
        core_sizes(pairs.blocks, hold=hold_blocks),
        counts.values(core.sizes()),
        k=config.k,
        duplicates=chunks.rows - pairs.distinct,
        below_min_rating=pairs.distinct - pairs.count,
    )


def pairs_of(
    chunks: Chunks, config: IngestConfig, budget: Budget
) -> tuple[Numbered, Numbered, Pairs]:
    """The users, the items, and the latest interaction of each pair of them."""
    folder = budget.folder
    users = number([chunk.users for chunk in chunks.done], folder, "users", budget.ids)
    items = number([chunk.items for chunk in chunks.done], folder, "items", budget.ids)
    LOG.info("ingest: %s users and %s items numbered", f"{users.count:,}", f"{items.count:,}")
    pairs = latest_of_pairs(chunks.done, users.count, config.min_rating, folder, budget.rows)
    return users, items, pairs


def _write_interactions(path: Path, pairs: Pairs, core: Core) -> tables.CoreStatistics:
    counts = tables.CoreStatistics()
    user, item = _dense(core.user), _dense(core.item)
    with tables.GroupedWriter(path, columns.INTERACTIONS) as table:
        for block in pairs:
            kept = block.take(core.holds(block.user, block.item))
            dense = Interactions(user[kept.user], item[kept.item], kept.rating, kept.timestamp)
            counts.add(dense)
            table.add(**tables.interactions_columns(dense))
    return counts


def _dense(counts: NDArray[np.int32]) -> NDArray[np.int32]:
    """The code of each id among those in the core; of no use for others."""
    return np.cumsum(counts > 0, dtype=np.int32) - np.int32(1)


def _write_users(path: Path, users: Numbered, core: Core) -> None:
    with tables.GroupedWriter(path, columns.USERS) as table:
        for part in _kept_parts(users, core.user):
            table.add(**tables.users_columns(part, table.rows))


def write_items(
    path: Path, asins: pa.LargeStringArray, described: SpilledItems, counts: tables.CoreStatistics
) -> None:
    """Write the items' table range by range, and count their fields."""
    with tables.GroupedWriter(path, columns.ITEMS, tables.ITEMS_GROUP) as table:
        for items in described.parts():
            first = table.rows
            table.add(**tables.items_columns(asins.slice(first, len(items)), items, first))
            counts.add_items(items)


def _kept(numbered: Numbered, counts: NDArray[np.int32]) -> pa.LargeStringArray:
    """The ids in the core."""
    parts = list(_kept_parts(numbered, counts))
    return pa.chunked_array(parts, pa.large_string()).combine_chunks()


def _kept_parts(numbered: Numbered, counts: NDArray[np.int32]) -> Iterator[pa.LargeStringArray]:
    for first, ids in numbered.parts():
        own = counts[first : first + len(ids)] > 0
        yield ids.filter(pa.array(np.pad(own, (0, len(ids) - len(own)))))
