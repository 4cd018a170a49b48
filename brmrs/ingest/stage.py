"""The stage `ingest`: from the dump to interactions, users and items."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brmrs import columns
from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest import formats
from brmrs.ingest.clean import is_address
from brmrs.ingest.dataset import BadLine, Dataset, Given, Item
from brmrs.ingest.interactions import NO_TIME, Interactions, latest
from brmrs.ingest.kcore import core_sizes, k_core, largest_k
from brmrs.stages import GIVEN_KNN, GIVEN_LABELS, GIVEN_VECTORS, StageContext
from brmrs.system.files import write_json

LOG = logging.getLogger(__name__)
SIZES = ("interactions", "users", "items")


@dataclass(frozen=True)
class Ingested:
    """The output of the stage.

    Attributes:
        interactions: dense ids, sorted by user and item, no pair twice.
        user_ids: U raw ids; the position is the dense id. Sorted, unless the data are ready-made.
        asins: I raw ids of items, in the same way.
        items: text and picture addresses, row i for item i.
        quarantine: the lines that could not be used, sorted.
        statistics: counts, plain JSON values.
        given: the split, vectors and kNN tables that the data include; None: nothing of these.
    """

    interactions: Interactions
    user_ids: list[str]
    asins: list[str]
    items: list[Item]
    quarantine: list[BadLine]
    statistics: dict[str, Any]
    given: Given | None = None


def run(context: StageContext) -> None:
    """The stage: the configured dump to Parquet files and statistics."""
    out = context.out
    ingested = ingest(context.config.ingest, context.config.plugins)
    if ingested.given:
        _write_given(ingested.interactions, ingested.given, out / "given")
    pq.write_table(interactions_table(ingested.interactions), out / "interactions.parquet")
    pq.write_table(_users_table(ingested.user_ids), out / "users.parquet")
    pq.write_table(_items_table(ingested), out / "items.parquet")
    pq.write_table(_quarantine_table(ingested.quarantine), out / "quarantine.parquet")
    write_json(out / "statistics.json", ingested.statistics)
    LOG.info(
        "ingest: %s interactions of %s users with %s items; %s lines quarantined",
        *(f"{ingested.statistics[name]:,}" for name in SIZES),
        f"{len(ingested.quarantine):,}",
    )
    if left_out := _outside_core(ingested.statistics):
        LOG.info("ingest: %s", left_out)


def _outside_core(statistics: Mapping[str, Any]) -> str:
    """What the k-core leaves out; "" where it keeps everything."""
    sizes = {name: (statistics["before_k_core"][name], statistics[name]) for name in SIZES}
    if all(before == kept for before, kept in sizes.values()):
        return ""
    counts = [f"{before - kept:,} of {before:,} {name}" for name, (before, kept) in sizes.items()]
    return f"the {statistics['k']}-core (ingest.k) leaves out {', '.join(counts)}"


def ingest(config: IngestConfig, plugins: Sequence[Path] = ()) -> Ingested:
    """Read a dump of any format, also of a plug-in, and keep its k-core.

    The steps, in order: move bad lines to the quarantine, keep the latest of a repeated (user,
    item) pair, drop ratings below the minimum, take the k-core. Items without metadata stay, as
    items without text. Metadata of other items are dropped. A ready-made data set is kept whole.

    Raises:
        UserError: a file is missing or no dump, too many lines are bad, or nothing is left.
    """
    dataset = formats.get(config.format, plugins).read(config)
    if dataset.given:
        return _kept_whole(dataset, dataset.given)
    distinct = latest(dataset.interactions)
    liked = distinct
    if config.min_rating is not None:
        # Not "rating >= minimum", so that an absent rating (NaN) stays.
        liked = distinct.take(~(distinct.rating < config.min_rating))
    core = liked.take(_core_rows(liked, config.k))
    user_ids, user = _dense(dataset.user_ids, core.user)
    asins, item = _dense(dataset.asins, core.item)
    interactions = latest(Interactions(user, item, core.rating, core.timestamp))
    described = dataset.describe(asins)
    quarantine = sorted(dataset.reading.quarantine + described.reading.quarantine)
    statistics = {
        "reviews": {
            **dataset.reading.statistics(),
            "below_min_rating": len(distinct) - len(liked),
            "duplicates": len(dataset.interactions) - len(distinct),
        },
        "metadata": {"duplicates": 0, "never_reviewed": 0, **described.reading.statistics()},
        "before_k_core": liked.sizes(),
        "cores": core_sizes(liked.user, liked.item),
        "k": config.k,
        **_core_statistics(interactions, described.items),
    }
    given = Given(features=described.features) if described.features else None
    return Ingested(interactions, user_ids, asins, described.items, quarantine, statistics, given)


def _kept_whole(dataset: Dataset, given: Given) -> Ingested:
    """A ready-made data set: no row and no id is left out."""
    interactions, asins = dataset.interactions, dataset.asins.to_pylist()
    described = dataset.describe(asins)
    statistics = {
        "reviews": {**dataset.reading.statistics(), "below_min_rating": 0, "duplicates": 0},
        "metadata": {"duplicates": 0, "never_reviewed": 0, **described.reading.statistics()},
        "before_k_core": interactions.sizes(),
        "cores": core_sizes(interactions.user, interactions.item),
        "k": 0,
        **_core_statistics(interactions, described.items),
    }
    return Ingested(
        interactions,
        dataset.user_ids.to_pylist(),
        asins,
        described.items,
        sorted(dataset.reading.quarantine + described.reading.quarantine),
        statistics,
        replace(given, features={**given.features, **described.features}),
    )


def _write_given(interactions: Interactions, given: Given, out: Path) -> None:
    """Write `split/`, and for each modality its vectors and its kNN table, as far as given."""
    (out / columns.SPLIT).mkdir(parents=True)
    if given.labels is not None:
        labels = {
            columns.USER: interactions.user,
            columns.ITEM: interactions.item,
            columns.SPLIT: given.labels,
        }
        table = pa.table(labels, schema=columns.GIVEN_SPLIT)
        pq.write_table(table, out / columns.SPLIT / GIVEN_LABELS)
    for modality in columns.MODALITIES:
        (out / modality).mkdir()
        if modality in given.features:
            np.save(out / modality / GIVEN_VECTORS, given.features[modality], allow_pickle=False)
        if modality in given.neighbours:
            pq.write_table(given.neighbours[modality], out / modality / GIVEN_KNN)


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


def _core_rows(distinct: Interactions, k: int) -> NDArray[np.intp]:
    if not len(distinct):
        raise UserError("ingest.min_rating: no review is left; lower ingest.min_rating")
    rows = k_core(distinct.user, distinct.item, k)
    if len(rows):
        return rows
    sizes = distinct.sizes()
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
            "image_address": sum(any(map(is_address, item.image_urls)) for item in items),
            "image_name": sum(not all(map(is_address, item.image_urls)) for item in items),
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
