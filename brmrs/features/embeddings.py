"""Embedded rows, kept by content for later runs: Parquet shards in the folder that a stage keeps.

Layout: <folder>/<recipe>/<SHA-256 of the shard's bytes>.parquet. A recipe is all that shapes a
vector beside its content: weights, preprocessing, code, libraries.
"""

import logging
import os
import uuid
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
from brmrs.system import code, progress
from brmrs.system.files import digest_bytes, digest_json

LOG = logging.getLogger(__name__)
SHARD, SHARD_BYTES = 512, 2**24  # rows, at most so many bytes of them: what a kill may lose
LETTERS = 16  # of the recipe's digest, in the folder's name

# Embeds contents, given by their places in a list. Yields (R,) places in what it was given, each
# once and in any order, (R, d) float32 vectors, and (R, n) float16 maps where such are wanted.
Embedded = tuple[np.ndarray, ...]
Embed = Callable[[np.ndarray], Iterator[Embedded]]
Columns = Mapping[str, np.ndarray]  # by name, of equal lengths


def recipe(
    weights: str, settings: Mapping[str, Any], module: str, libraries: Sequence[str] = ()
) -> str:
    """Digest of everything that shapes a vector, except its content.

    Args:
        weights: digest of the model's weights.
        settings: preprocessing, precision and shape of the batches, as JSON values.
        module: name of the module that embeds; the modules that it imports count, too.
        libraries: distributions that count although no module imports them.
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
    """Log how many items have the modality; a warning if none has, as models go without it then.

    Args:
        modality: "text" or "visual".
        content: what an item has or lacks.
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
    """The vectors of some contents, and what it took to get them.

    Attributes:
        vectors: (C, d) float32, on disk: a file mapped into memory.
        regions: (C, n) float16, likewise; None where they were not wanted.
        embedded: how many were embedded now; the others were kept from before.
        shards: that hold them all, relative to the folder that the stage keeps.
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
    """The vectors of contents: kept ones are read, the others embedded and kept.

    Several processes may do this at once: shards appear whole, under the digest of their bytes.

    Args:
        context: of the stage. If it keeps nothing, the rows lie in its scratch folder.
        modality: "text" or "visual", for what is told.
        digest: of the recipe.
        contents: (C,) distinct digests of the contents.
        dimension: d.
        embed: is asked for the new ones alone.
        regions: n, numbers in the map of a content; 0 where none is wanted.
    """
    schema = embeddings(dimension, regions)
    shelf = Shelf(context.stage_cache or context.scratch, digest, schema)
    columns = _columns(context.scratch, digest, schema, len(contents))
    shards = set()
    place = {content: row for row, content in enumerate(contents)}
    known = np.zeros(len(contents), dtype=bool)
    for name, found, kept in shelf.read():
        here = [(row, place[content]) for row, content in enumerate(found) if content in place]
        here = [(row, target) for row, target in here if not known[target]]
        if here:
            source, target = np.array(here).T
            known[target] = True
            for column, values in kept.items():
                columns[column][target] = values[source]
            shards.add(name)
    new = np.flatnonzero(~known)
    with progress.task(f"Embedding {modality}", len(new)) as task:
        found_now = ((new[rows], *values) for rows, *values in embed(new))
        for rows in _in_shards(found_now, columns, task):
            part = {column: array[rows] for column, array in columns.items()}
            shards.add(shelf.write([contents[row] for row in rows], part))
    LOG.info("%s: %d rows embedded, %d reused", modality, len(new), len(contents) - len(new))
    return Rows(columns[VECTOR], columns.get(REGIONS), len(new), tuple(sorted(shards)))


def on_disk(path: Path, rows: int, width: int, dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """(rows, width) zeros in a new file, mapped into memory.

    Raises:
        OSError: the disk has no room. Found later, it would end the process without a word.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(rows, width))
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def note(context: StageContext, parts: Sequence[Rows]) -> None:
    """Tell the record how many rows were embedded and reused, and the shards that hold them."""
    embedded = sum(part.embedded for part in parts)
    reused = sum(len(part.vectors) for part in parts) - embedded
    context.notes["rows"] = {"embedded": embedded, "reused": reused}
    if context.stage_cache:
        context.notes[STAGE_CACHE] = sorted(shard for part in parts for shard in part.shards)


def _columns(scratch: Path, digest: str, schema: pa.Schema, rows: int) -> dict[str, np.ndarray]:
    """A file for each column but the contents' digests, mapped into memory."""
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
    """Put what was embedded into its places; yields the places filled, a shard at a time."""
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


class Shelf:
    """The shards of one recipe, of the schema `columns.embeddings`."""

    def __init__(self, root: Path, digest: str, schema: pa.Schema) -> None:
        self._folder = root / digest[:LETTERS]
        self._schema = schema

    def read(self) -> Iterator[tuple[str, list[str], Columns]]:
        """Name, contents and (R, ...) rows of each shard that is whole; damaged ones are removed.

        In the order of their names: which of two shards with the same row counts is no chance.
        """
        for path in sorted(self._folder.glob("*.parquet")):
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # another process found it damaged
                continue
            if digest_bytes(data) != path.stem:
                LOG.warning("%s is damaged; its rows are embedded again", path)
                path.unlink(missing_ok=True)
                continue
            table = pq.read_table(BytesIO(data), schema=self._schema)
            contents = table[SHA256].to_pylist()
            flat = {
                name: table[name].combine_chunks().flatten().to_numpy()
                for name in self._schema.names
                if name != SHA256
            }
            rows = {name: values.reshape(len(contents), -1) for name, values in flat.items()}
            yield f"{self._folder.name}/{path.name}", contents, rows

    def write(self, contents: list[str], rows: Columns) -> str:
        """Keep rows; the name of their shard. A kill leaves all of it or nothing that is read."""
        columns: dict[str, pa.Array] = {SHA256: pa.array(contents)}
        for name, values in rows.items():
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        sink = BytesIO()
        pq.write_table(pa.table(columns, schema=self._schema), sink, use_dictionary=False)
        data = sink.getvalue()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{digest_bytes(data)}.parquet"
        part = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
        part.write_bytes(data)
        part.replace(path)
        return f"{self._folder.name}/{path.name}"
