"""The stage `ingest`: from the dump to interactions, users and items."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brmrs import columns
from brmrs.config.pipeline import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.amazon.encode_ids import code_reviews
from brmrs.ingest.amazon.metadata import METADATA, Item, describe
from brmrs.ingest.amazon.records import BadLine, Reading, read
from brmrs.ingest.amazon.reviews import REVIEWS
from brmrs.ingest.files import dump_files
from brmrs.ingest.interactions import NO_TIME, Interactions, latest
from brmrs.ingest.kcore import core_sizes, k_core, largest_k
from brmrs.ingest.ready_made import layout as benchmark
from brmrs.stages import StageContext
from brmrs.system.files import write_json

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ingested:
    """What the stage makes of a dump.

    Attributes:
        interactions: dense ids, sorted by user and item, no pair twice.
        user_ids: U raw ids, sorted; the position is the dense id.
        asins: I raw ids, likewise.
        items: what the metadata tell, row i for item i.
        quarantine: the lines that could not be used, sorted.
        statistics: counts, plain JSON values.
    """

    interactions: Interactions
    user_ids: list[str]
    asins: list[str]
    items: list[Item]
    quarantine: list[BadLine]
    statistics: dict[str, Any]


def run(context: StageContext) -> None:
    """The stage: the configured dump to Parquet files and statistics."""
    config, out = context.config.ingest, context.out
    if config.format == "ready-made":
        given = benchmark.read(config)
        benchmark.write_given(given, out / "given")
        ingested = of_benchmark(given)
    else:
        ingested = ingest(config)
    pq.write_table(interactions_table(ingested.interactions), out / "interactions.parquet")
    pq.write_table(_users_table(ingested.user_ids), out / "users.parquet")
    pq.write_table(_items_table(ingested), out / "items.parquet")
    pq.write_table(_quarantine_table(ingested.quarantine), out / "quarantine.parquet")
    write_json(out / "statistics.json", ingested.statistics)
    LOG.info(
        "ingest: %s interactions of %s users with %s items; %s lines quarantined",
        *(f"{ingested.statistics[name]:,}" for name in ("interactions", "users", "items")),
        f"{len(ingested.quarantine):,}",
    )


def ingest(config: IngestConfig) -> Ingested:
    """Read a dump and keep its k-core.

    In this order: lines that cannot be used go to the quarantine, ratings below the minimum are
    left out, the latest of a repeated (user, item) pair stays, the k-core is taken. Reviewed
    items without metadata stay, as items without text; metadata of other items are dropped.

    Raises:
        UserError: a file is missing or no dump, too many lines are bad, or nothing is left.
    """
    if not config.reviews:
        raise UserError("ingest.reviews: no review dump is configured; set ingest.reviews=PATH")
    review_files = dump_files(config.reviews, REVIEWS.field)
    metadata_files = dump_files(config.metadata, METADATA.field)
    coded, reading = code_reviews(review_files, config)
    everything = coded.interactions()
    distinct = latest(everything)
    core = distinct.take(_core_rows(distinct, config.k))
    user_ids, user = _dense(coded.user.ids, core.user)
    asins, item = _dense(coded.item.ids, core.item)
    interactions = latest(Interactions(user, item, core.rating, core.timestamp))
    items, about = _describe(metadata_files, asins, config)
    quarantine = reading.quarantine + about.reading.quarantine
    statistics = {
        "reviews": {
            **_reading_statistics(reading, coded.generations),
            "below_min_rating": coded.below_min_rating,
            "duplicates": len(everything) - len(distinct),
        },
        "metadata": {
            **_reading_statistics(about.reading, about.generations),
            "duplicates": about.duplicates,
            "never_reviewed": about.unused,
        },
        "before_k_core": distinct.sizes(),
        "cores": core_sizes(distinct.user, distinct.item),
        "k": config.k,
        **_core_statistics(interactions, items),
    }
    return Ingested(interactions, user_ids, asins, items, sorted(quarantine), statistics)


def of_benchmark(given: benchmark.Benchmark) -> Ingested:
    """A benchmark as what the stage writes: nothing is left out, items have no descriptions."""
    interactions, items = given.interactions, [Item()] * len(given.asins)
    nothing = _reading_statistics(Reading(), Counter())
    statistics = {
        "reviews": {
            **nothing,
            "files": 1,
            "lines": len(interactions),
            "generations": {"benchmark": len(interactions)},
            "below_min_rating": 0,
            "duplicates": 0,
        },
        "metadata": {**nothing, "duplicates": 0, "never_reviewed": 0},
        "before_k_core": interactions.sizes(),
        "cores": core_sizes(interactions.user, interactions.item),
        "k": 0,
        **_core_statistics(interactions, items),
    }
    return Ingested(interactions, given.user_ids, given.asins, items, [], statistics)


def interactions_table(interactions: Interactions) -> pa.Table:
    """The table of `columns.INTERACTIONS`."""
    absent = interactions.timestamp == NO_TIME
    return pa.table(
        {
            columns.USER: interactions.user,
            columns.ITEM: interactions.item,
            columns.RATING: pa.array(interactions.rating, from_pandas=True),  # NaN: null
            columns.TIMESTAMP: pa.array(interactions.timestamp, mask=absent),
        },
        schema=columns.INTERACTIONS,
    )


@dataclass
class _About:
    """What reading the metadata came to."""

    reading: Reading = field(default_factory=Reading)
    generations: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0  # rows of an item that had one
    unused: int = 0  # rows of items without an interaction in the core


def _describe(
    files: list[Path], asins: list[str], config: IngestConfig
) -> tuple[list[Item], _About]:
    """The fullest description of each item; an item without metadata gets an empty one."""
    found: dict[str, Item | None] = dict.fromkeys(asins)
    about = _About()
    share, truncated = config.max_bad_share, config.allow_truncated
    for line in read(files, METADATA, share, about.reading, truncated):
        about.generations[line.generation] += 1
        if line.asin not in found:
            about.unused += 1
            continue
        item, other = describe(line), found[line.asin]
        about.duplicates += other is not None
        found[line.asin] = item if other is None else max(item, other, key=Item.fullness)
    return [item or Item() for item in found.values()], about


def _core_rows(distinct: Interactions, k: int) -> NDArray[np.intp]:
    rows = k_core(distinct.user, distinct.item, k)
    if len(rows):
        return rows
    sizes = distinct.sizes()
    if not len(distinct):
        raise UserError("ingest.min_rating: no review is left; lower ingest.min_rating")
    raise UserError(
        f"ingest.k: nothing is left of {sizes['interactions']:,} interactions of "
        f"{sizes['users']:,} users with {sizes['items']:,} items after the {k}-core; "
        f"set ingest.k={largest_k(distinct.user, distinct.item, k)} or lower, or add reviews"
    )


def _dense(
    ids: pa.LargeStringArray, used: NDArray[np.int32]
) -> tuple[list[str], NDArray[np.int32]]:
    """The raw ids in use, sorted, and `used` as positions in them."""
    kept = np.unique(used)
    names = ids.take(pa.array(kept))
    order = pc.sort_indices(names).to_numpy()  # by UTF-8 bytes, which is by code points
    dense = np.full(len(ids), -1, dtype=np.int32)
    dense[kept[order]] = np.arange(len(kept))
    return names.take(pa.array(order)).to_pylist(), dense[used]


def _reading_statistics(reading: Reading, generations: Counter[str]) -> dict[str, Any]:
    return {
        "files": reading.files,
        "lines": reading.lines,
        "generations": dict(generations),
        "quarantined": reading.reasons(),
    }


def _core_statistics(interactions: Interactions, items: list[Item]) -> dict[str, Any]:
    sizes = interactions.sizes()
    stars, counts = np.unique(
        interactions.rating[~np.isnan(interactions.rating)], return_counts=True
    )
    times = interactions.timestamp[interactions.timestamp != NO_TIME]
    return {
        **sizes,
        "sparsity": 1 - sizes["interactions"] / (sizes["users"] * sizes["items"]),
        "items_with": {
            "title": sum(bool(item.title) for item in items),
            "description": sum(bool(item.description) for item in items),
            "text": sum(item.has_text for item in items),
            "image_address": sum(bool(item.image_urls) for item in items),
        },
        "ratings": {f"{star:g}": int(count) for star, count in zip(stars, counts, strict=True)},
        "time": {  # milliseconds since 1970-01-01 UTC
            "first": int(times.min()) if len(times) else None,
            "last": int(times.max()) if len(times) else None,
            "unknown": len(interactions) - len(times),
        },
    }


def _users_table(user_ids: list[str]) -> pa.Table:
    return pa.table(
        {columns.USER: np.arange(len(user_ids), dtype=np.int32), columns.USER_ID: user_ids},
        schema=columns.USERS,
    )


def _items_table(ingested: Ingested) -> pa.Table:
    items = ingested.items
    return pa.table(
        {
            columns.ITEM: np.arange(len(items), dtype=np.int32),
            columns.ASIN: ingested.asins,
            columns.TITLE: [item.title for item in items],
            columns.DESCRIPTION: [item.description for item in items],
            columns.BRAND: [item.brand for item in items],
            columns.CATEGORIES: [item.categories for item in items],
            columns.IMAGE_URLS: [item.image_urls for item in items],
        },
        schema=columns.ITEMS,
    )


def _quarantine_table(bad: list[BadLine]) -> pa.Table:
    return pa.table(
        {
            columns.FILE: [line.file for line in bad],
            columns.LINE: [line.line for line in bad],
            columns.REASON: [line.reason for line in bad],
            columns.CONTENT: [line.content for line in bad],
        },
        schema=columns.QUARANTINE,
    )
