"""The stage `ingest`: from the dump to interactions, users and items."""

import logging
from collections.abc import Iterable, Mapping, Sequence
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
from brmrs.ingest import formats, tables
from brmrs.ingest.dataset import BadLine, Dataset, DumpFormat, Given, Item
from brmrs.ingest.interactions import Interactions, latest, positive
from brmrs.ingest.kcore import core_or_refuse, core_sizes
from brmrs.ingest.out_of_core import read
from brmrs.ingest.out_of_core.budget import budget_of
from brmrs.ingest.streams import StreamedFormat
from brmrs.stages import GIVEN_KNN, GIVEN_LABELS, GIVEN_VECTORS, StageContext
from brmrs.system.files import write_json

LOG = logging.getLogger(__name__)
SIZES = ("interactions", "users", "items")
KINDS = ("reviews", "metadata")


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
    config, out = context.config.ingest, context.out
    dump_format = formats.get(config.format, context.config.plugins)
    if isinstance(dump_format, StreamedFormat) and (
        budget := budget_of(dump_format, config, context.scratch)
    ):
        statistics = read.run(dump_format, config, budget, out)
    else:
        if config.memory and not isinstance(dump_format, StreamedFormat):
            LOG.warning("ingest.memory: no effect, %s is read in memory", config.format)
        ingested = in_memory(dump_format, config)
        write(ingested, out)
        statistics = ingested.statistics
    write_json(out / "statistics.json", statistics)
    quarantined = sum(sum(statistics[kind]["quarantined"].values()) for kind in KINDS)
    LOG.info(
        "ingest: %s interactions of %s users with %s items; %s lines quarantined",
        *(f"{statistics[name]:,}" for name in SIZES),
        f"{quarantined:,}",
    )
    if left_out := _outside_core(statistics):
        LOG.info("ingest: %s", left_out)


def write(ingested: Ingested, out: Path) -> None:
    """Write the tables."""
    if ingested.given:
        _write_given(ingested.interactions, ingested.given, out / "given")
    with tables.GroupedWriter(out / "interactions.parquet", columns.INTERACTIONS) as table:
        table.add(**tables.interactions_columns(ingested.interactions))
    with tables.GroupedWriter(out / "users.parquet", columns.USERS) as table:
        table.add(**tables.users_columns(ingested.user_ids))
    group = tables.ITEMS_GROUP
    with tables.GroupedWriter(out / "items.parquet", columns.ITEMS, group) as table:
        table.add(**tables.items_columns(ingested.asins, ingested.items))
    tables.write_quarantine(out / "quarantine.parquet", ingested.quarantine)


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
    return in_memory(formats.get(config.format, plugins), config)


def in_memory(dump_format: DumpFormat, config: IngestConfig) -> Ingested:
    """`ingest` of a format that is already known."""
    dataset = dump_format.read(config)
    if dataset.given:
        return _kept_whole(dataset, dataset.given)
    distinct = latest(dataset.interactions)
    liked = positive(distinct, config.min_rating)
    blocks, before = [(liked.user, liked.item)], liked.sizes()
    kept = liked.take(core_or_refuse(blocks, config.k, before).holds(liked.user, liked.item))
    user_ids, user = _dense(dataset.user_ids, kept.user)
    asins, item = _dense(dataset.asins, kept.item)
    interactions = latest(Interactions(user, item, kept.rating, kept.timestamp))
    described = dataset.describe(asins)
    statistics = tables.statistics(
        dataset.reading,
        described.reading,
        before,
        core_sizes(blocks),
        _core_statistics(interactions, described.items),
        k=config.k,
        duplicates=len(dataset.interactions) - len(distinct),
        below_min_rating=len(distinct) - len(liked),
    )
    given = Given(features=described.features) if described.features else None
    quarantine = sorted(dataset.reading.quarantine + described.reading.quarantine)
    return Ingested(interactions, user_ids, asins, described.items, quarantine, statistics, given)


def _kept_whole(dataset: Dataset, given: Given) -> Ingested:
    """A ready-made data set: no row and no id is left out."""
    interactions, asins = dataset.interactions, dataset.asins.to_pylist()
    described = dataset.describe(asins)
    statistics = tables.statistics(
        dataset.reading,
        described.reading,
        interactions.sizes(),
        core_sizes([(interactions.user, interactions.item)]),
        _core_statistics(interactions, described.items),
        k=0,
    )
    return Ingested(
        interactions,
        dataset.user_ids.to_pylist(),
        asins,
        described.items,
        sorted(dataset.reading.quarantine + described.reading.quarantine),
        statistics,
        replace(given, features={**given.features, **described.features}),
    )


def _core_statistics(interactions: Interactions, items: Iterable[Item]) -> dict[str, Any]:
    counts = tables.CoreStatistics().add(interactions).add_items(items)
    return counts.values(interactions.sizes())


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
