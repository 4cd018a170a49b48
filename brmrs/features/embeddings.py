"""Vectors by content, cached for later runs: Parquet shards in the stage cache.

Layout: <stage cache>/<recipe>/<SHA-256 of the shard's bytes>.parquet. A recipe is everything that a
    vector depends on, except its content: weights, preprocessing, code, libraries.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.columns import REGIONS, SHA256, VECTOR, embeddings
from brmrs.stages import STAGE_CACHE, StageContext
from brmrs.system import code, progress, untrusted
from brmrs.system.files import digest_bytes, digest_json, replacing

LOG = logging.getLogger(__name__)
SHARD, SHARD_BYTES = 512, 2**24  # limits of rows and bytes; a kill loses at most one shard
MOST_ROWS, MOST_BYTES = 2**16, 2**28  # of a shard that is read; one row may exceed `SHARD_BYTES`
LETTERS = 16  # of the recipe's digest, in the folder's name

# A function that embeds the contents at the given places of a list. It yields (R,) positions within
# its argument, each once and in any order, (R, d) float32 vectors, and (R, n) float16 maps if
# wanted.
Embedded = tuple[np.ndarray, ...]
Embed = Callable[[np.ndarray], Iterator[Embedded]]
Columns = Mapping[str, np.ndarray]  # by name, of equal lengths


def recipe(
    weights: str, settings: Mapping[str, Any], module: str, libraries: Sequence[str] = ()
) -> str:
    """Digest of everything that a vector depends on, except its content.

    Args:
        weights: digest of the model's weights.
        settings: preprocessing, precision and shape of the batches, as JSON values.
        module: name of the module that embeds; the modules that it imports count, too.
        libraries: further distributions, which no module imports.
    """
    modules = sorted(code.closure(module))
    imported = {library for name in modules for library in code.libraries(name)}
    return digest_json(
        {
            "weights": weights,
            "settings": dict(settings),
            "code": {name: code.digest(name) for name in modules},
            "libraries": {
                name: code.library_version(name) for name in sorted({*imported, *libraries})
            },
        }
    )


def distinct(contents: Sequence[str | None]) -> tuple[list[str], np.ndarray]:
    """The distinct contents, sorted, and the (I,) place of each item's among them, -1 for None."""
    found = sorted({content for content in contents if content is not None})
    places: dict[str | None, int] = {content: place for place, content in enumerate(found)}
    return found, np.array([places.get(content, -1) for content in contents], dtype=np.int64)


def report(modality: str, content: str, which: np.ndarray) -> None:
    """Log how many items have the modality; warn if none has, as models then do not use it.

    Args:
        modality: "text" or "visual".
        content: name of the content, such as "text".
        which: (I,) -1 where an item lacks it.
    """
    present = int((which >= 0).sum())
    level = logging.INFO if present else logging.WARNING
    without = "" if present else "; models are trained without this modality"
    LOG.log(
        level,
        "%s features: %d of %d items have %s%s",
        modality,
        present,
        len(which),
        content,
        without,
    )


@dataclass(frozen=True)
class Rows:
    """The vectors of some contents, and how many of them were computed.

    Attributes:
        vectors: (C, d) float32, a file mapped into memory.
        regions: (C, n) float16, a file mapped into memory; None if not wanted.
        embedded: number of vectors computed now; the others were in the cache.
        shards: files with these vectors, relative to the stage cache.
    """

    vectors: np.ndarray
    regions: np.ndarray | None
    embedded: int
    shards: tuple[str, ...]


def gather(
    context: StageContext,
    modality: str,
    digest: str,
    contents: Sequence[str],
    dimension: int,
    embed: Embed,
    regions: int = 0,
) -> Rows:
    """The vectors of contents: read from the cache, or computed and added to it.

    Several processes may do this at once, because shards are written atomically and named by
    digest.

    Args:
        context: of the stage. Without a stage cache, the shards go to its scratch folder.
        modality: "text" or "visual", for the log.
        digest: of the recipe.
        contents: (C,) distinct digests of the contents.
        dimension: d.
        embed: computes the vectors that are not in the cache.
        regions: n, numbers in the map of a content; 0 if none is wanted.
    """
    schema = embeddings(dimension, regions)
    cache = Shards(context.stage_cache or context.scratch, digest, schema)
    columns = _columns(context.scratch, digest, schema, len(contents))
    shards = set()
    place = {content: row for row, content in enumerate(contents)}
    known = np.zeros(len(contents), dtype=bool)
    for name, found, cached in cache.read():
        here = [(row, place[content]) for row, content in enumerate(found) if content in place]
        here = [(row, target) for row, target in here if not known[target]]
        if here:
            source, target = np.array(here).T
            known[target] = True
            for column, values in cached.items():
                columns[column][target] = values[source]
            shards.add(name)
    new = np.flatnonzero(~known)
    with progress.task(f"Embedding {modality}", len(new)) as task:
        found_now = ((new[rows], *values) for rows, *values in embed(new))
        for rows in _in_shards(found_now, columns, task):
            part = {column: array[rows] for column, array in columns.items()}
            shards.add(cache.write([contents[row] for row in rows], part))
    LOG.info("%s: %d rows embedded, %d reused", modality, len(new), len(contents) - len(new))
    return Rows(columns[VECTOR], columns.get(REGIONS), len(new), tuple(sorted(shards)))


def on_disk(path: Path, rows: int, width: int, dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """(rows, width) zeros in a new file, mapped into memory. A file or link there is removed.

    Raises:
        OSError: the disk is full. Without this check, a later write would kill the process.
    """
    path.unlink(missing_ok=True)  # numpy would write through a link
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(rows, width))
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def note(context: StageContext, parts: Sequence[Rows]) -> None:
    """Note in the record how many rows were embedded and reused, and their shards."""
    embedded = sum(part.embedded for part in parts)
    reused = sum(len(part.vectors) for part in parts) - embedded
    context.notes["rows"] = {"embedded": embedded, "reused": reused}
    if context.stage_cache:
        context.notes[STAGE_CACHE] = sorted(shard for part in parts for shard in part.shards)


def _columns(scratch: Path, digest: str, schema: pa.Schema, rows: int) -> dict[str, np.ndarray]:
    """A file mapped into memory for each column, except the digests of the contents."""
    scratch.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for field in (field for field in schema if field.name != SHA256):
        path = scratch / f"{digest[:LETTERS]}-{field.name}.npy"
        dtype = field.type.value_type.to_pandas_dtype()
        arrays[field.name] = on_disk(path, rows, field.type.list_size, dtype)
    return arrays


def _in_shards(
    found: Iterator[Embedded], columns: Columns, task: progress.Task
) -> Iterator[np.ndarray]:
    """Store vectors in their rows; yields the rows that were filled, one shard at a time."""
    size = sum(array[:1].nbytes for array in columns.values())
    most = max(1, min(SHARD, SHARD_BYTES // max(1, size)))
    waiting: list[int] = []
    for rows, *values in found:
        for array, value in zip(columns.values(), values, strict=True):
            array[rows] = value
        waiting += rows.tolist()
        task.advance(len(rows))
        while len(waiting) >= most:
            yield np.array(waiting[:most])
            waiting = waiting[most:]
    if waiting:
        yield np.array(waiting)


class Shards:
    """The shards of one recipe, of the schema `columns.embeddings`."""

    def __init__(self, root: Path, digest: str, schema: pa.Schema) -> None:
        self._folder = root / digest[:LETTERS]
        self._schema = schema

    def read(self) -> Iterator[tuple[str, list[str], Columns]]:
        """Name, contents and (R, ...) rows of each intact shard; damaged ones are left out.

        Sorted by name, so the choice between two shards with the same row is fixed. No file is
        removed, because in a store that was copied from elsewhere the folder may be a link.
        """
        for path in sorted(self._folder.glob("*.parquet")):
            try:
                contents, rows = self._content(path)
            except (OSError, ValueError, pa.ArrowException):
                LOG.warning("%s is damaged; its rows are embedded again", path)
                continue
            yield f"{self._folder.name}/{path.name}", contents, rows

    def _content(self, path: Path) -> tuple[list[str], Columns]:
        """Contents and (R, ...) rows of a shard.

        Raises:
            OSError, ValueError, ArrowException: it cannot be read, is damaged, or is forged under
                the digest of its bytes.
        """
        data = untrusted.read_bytes(path, MOST_BYTES)
        if digest_bytes(data) != path.stem:
            raise ValueError("other bytes")
        if pq.read_metadata(BytesIO(data)).num_rows > MOST_ROWS:
            raise ValueError("too many rows")  # a few bytes may hold billions of equal ones
        table = pq.read_table(BytesIO(data))
        if not table.schema.equals(self._schema):
            raise ValueError("another schema")
        if any(column.null_count for column in table.columns):
            raise ValueError("missing values")
        contents = table[SHA256].to_pylist()
        flat = {
            name: table[name].combine_chunks().flatten().to_numpy()
            for name in self._schema.names
            if name != SHA256
        }
        return contents, {name: values.reshape(len(contents), -1) for name, values in flat.items()}

    def write(self, contents: list[str], rows: Columns) -> str:
        """Write rows atomically; returns the name of their shard."""
        columns: dict[str, pa.Array] = {SHA256: pa.array(contents)}
        for name, values in rows.items():
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        sink = BytesIO()
        pq.write_table(pa.table(columns, schema=self._schema), sink, use_dictionary=False)
        data = sink.getvalue()
        path = self._folder / f"{digest_bytes(data)}.parquet"
        with replacing(path) as part:
            part.write_bytes(data)
        return f"{self._folder.name}/{path.name}"
