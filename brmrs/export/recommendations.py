"""The recommendations of a run as one table: user, rank, item, score, title."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from brmrs import stages
from brmrs.columns import ASIN, ITEMS, RANK, RECOMMENDATIONS, SCORE, TITLE, USER_ID
from brmrs.export.targets import Form
from brmrs.store import tables
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, sound
from brmrs.store.tables import open_table, read_table
from brmrs.system import progress

READ = "publish/recommendations.parquet"
NAMES = (USER_ID, RANK, ASIN, SCORE)
SCHEMA = pa.schema(
    [
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(RANK, pa.int32(), nullable=False),
        pa.field(ASIN, pa.string(), nullable=False),
        pa.field(SCORE, pa.float32(), nullable=False),
        pa.field(TITLE, pa.string(), nullable=False),
    ]
)


def export(run: Run, store: ArtifactStore, out: Path, form: Form) -> list[str]:
    """Write `recommendations.FORM`; returns notes.

    Raises:
        UserError: the run has no recommendations, or they are damaged.
    """
    sound(run, store, "ingest", "publish")
    items = read_table(store.path(run.artifact("ingest"), stages.ITEMS), ITEMS, [ASIN, TITLE])
    titles = dict(zip(items[ASIN].to_pylist(), items[TITLE].to_pylist(), strict=True))
    source = store.path(run.artifact("publish"), READ)
    with open_table(source, RECOMMENDATIONS) as table:
        count = table.metadata.num_rows
    path = out / f"recommendations.{form}"
    with progress.task("writing recommendations", count) as task:
        batches = _batches(source, titles, task)
        if form == Form.PARQUET:
            with pq.ParquetWriter(path, SCHEMA) as writer:
                for batch in batches:
                    writer.write_table(batch)
        elif form == Form.CSV:
            _write_csv(path, batches)
        else:
            with path.open("wb") as file:
                for batch in batches:
                    file.writelines(orjson.dumps(row) + b"\n" for row in batch.to_pylist())
    return []


def _batches(source: Path, titles: Mapping[str, str], task: progress.Task) -> Iterator[pa.Table]:
    for batch in tables.batches(source, RECOMMENDATIONS, *NAMES):
        found: dict[str, Any] = {name: batch[name] for name in NAMES}
        found[TITLE] = [titles.get(item, "") for item in batch[ASIN].to_pylist()]
        yield pa.table(found, schema=SCHEMA)
        task.advance(len(batch))


def _write_csv(path: Path, batches: Iterator[pa.Table]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCHEMA.names)
        for batch in batches:
            writer.writerows(row.values() for row in batch.to_pylist())
