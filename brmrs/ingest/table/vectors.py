"""Vectors of items: a Parquet file with ids and lists, or a `.npy` file and a file of ids."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brmrs.columns import TEXT, VISUAL
from brmrs.config.data import IngestConfig
from brmrs.errors import UserError, first_line
from brmrs.ingest.table import names
from brmrs.ingest.table.chunks import chunks
from brmrs.ingest.table.head import Head, Kind, read_head
from brmrs.ingest.table.values import stripped
from brmrs.suggest import instead

LOG = logging.getLogger(__name__)
FIELDS = {TEXT: "text_vectors", VISUAL: "visual_vectors"}
SHOWN = 3  # ids in a warning
Vectors = NDArray[np.float32]


def read(config: IngestConfig, asins: Sequence[str]) -> dict[str, Vectors]:
    """(I, d) vectors by modality, a row for each of these items; zeros for an item without one.

    Raises:
        UserError: a file cannot be read, ids and vectors do not fit together, an id occurs twice,
            or a number is not finite.
    """
    found: dict[str, Vectors] = {}
    for modality, field in FIELDS.items():
        paths: tuple[Path, ...] = getattr(config, field)
        if paths:
            ids, rows = _load(paths, f"ingest.{field}", config)
            found[modality] = _in_order(ids, rows, asins, f"ingest.{field}")
    return found


def _in_order(ids: Sequence[str], rows: Vectors, asins: Sequence[str], field: str) -> Vectors:
    place = {item: row for row, item in enumerate(ids)}
    if len(place) < len(ids):
        (twice, _), *_ = Counter(ids).most_common(1)
        raise UserError(f"{field}: the item {twice!r} has two vectors; remove one")
    vectors = np.zeros((len(asins), rows.shape[1]), dtype=np.float32)
    which = np.array([place.get(asin, -1) for asin in asins], dtype=np.int64)
    vectors[which >= 0] = rows[which[which >= 0]]
    lacking = [asin for asin, row in zip(asins, which, strict=True) if row < 0]
    if len(lacking) == len(asins):
        raise UserError(
            f"{field}: no vector belongs to an item; ids of vectors: {', '.join(ids[:SHOWN])}; ids "
            f"of items: {', '.join(asins[:SHOWN])}"
        )
    LOG.info(
        "%s: %s of %s items have a vector (%d-d); %s vectors belong to no item%s",
        field,
        f"{len(asins) - len(lacking):,}",
        f"{len(asins):,}",
        rows.shape[1],
        f"{len(ids) - (len(asins) - len(lacking)):,}",
        f"; items without: {', '.join(lacking[:SHOWN])}" if lacking else "",
    )
    return vectors


def _load(paths: Sequence[Path], field: str, config: IngestConfig) -> tuple[list[str], Vectors]:
    """Ids and (R, d) vectors."""
    arrays = [path for path in paths if path.suffix == ".npy"]
    if len(paths) == 1 and not arrays:
        head = _head(paths[0], field)
        if head.kind != Kind.PARQUET:
            raise UserError(f"{field}: {paths[0]}: name a Parquet file, or a .npy file and its ids")
        return _of_parquet(head, config)
    if len(paths) != 2 or len(arrays) != 1:
        raise UserError(f"{field}: name one Parquet file, or one .npy file and its file of ids")
    (ids,) = (path for path in paths if path not in arrays)
    rows = _of_array(arrays[0])
    return read_ids(ids, len(rows), config), rows


def _head(path: Path, field: str) -> Head:
    if not path.is_file():
        raise UserError(f"{field}: {path}: no such file; {instead(path, 'correct the path')}")
    return read_head(path)


def _of_parquet(head: Head, config: IngestConfig) -> tuple[list[str], Vectors]:
    if len(head.lists) != 1:
        raise UserError(
            f"{head.path}: {len(head.lists)} columns are lists of numbers, expected one; its "
            f"columns are {head.listed}"
        )
    try:
        table = pq.read_table(head.path, columns=list(head.lists))
        column = table[head.lists[0]].combine_chunks()
        widths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        values = pc.cast(pc.list_flatten(column), pa.float32(), safe=False).to_numpy()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{head.path}: no vectors ({first_line(error)})") from error
    if not len(widths) or not (widths == widths[0]).all() or not widths[0] > 0:
        raise UserError(f"{head.path}: the lists of {head.lists[0]} differ in length, or are empty")
    rows = values.reshape(len(widths), -1)
    _refuse_infinite(head.path, rows)
    return _ids_of_table(head, len(rows), config), rows


def _ids_of_table(head: Head, count: int, config: IngestConfig) -> list[str]:
    if len(head.names) - len(head.lists) == 1:
        (key,) = set(head.names) - set(head.lists)
    else:
        key = str(names.items(head, config.columns).one("item_id"))
    ids: list[str] = []

    def refuse(line: int, reason: str, _: bytes = b"") -> None:
        raise UserError(f"{head.path}, line {line}: {reason}; correct the line")

    for chunk in chunks(head, [key], refuse, lambda _: None):
        column = chunk.frame.select(stripped(key)).to_series()
        for line in chunk.lines[column.is_null().to_numpy()]:
            refuse(line, "no item id")
        ids += column.to_list()
    if len(ids) != count:
        raise UserError(f"{head.path}: {len(ids):,} ids for {count:,} vectors; correct one of them")
    return ids


def read_ids(path: Path, count: int, config: IngestConfig) -> list[str]:
    """The ids of an array's rows: an array, or a line each, with or without a header.

    Raises:
        UserError: they are not `count` ids.
    """
    if path.suffix in (".txt", ".ids", ""):
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: no file of ids ({first_line(error)})") from error
        lines = lines[1:] if len(lines) == count + 1 else lines
        if len(lines) != count or not all(lines):
            raise UserError(f"{path}: {len(lines):,} ids for {count:,} vectors; a line for each")
        return lines
    return _ids_of_table(_head(path, "ids of vectors"), count, config)


def _of_array(path: Path) -> Vectors:
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # the header is Python source, so reading it may raise any error
        raise UserError(f"{path}: no NumPy array of numbers; correct the file") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 2:
        raise UserError(f"{path}: no NumPy array of shape (items, d) of numbers; correct the file")
    if not array.shape[1]:
        raise UserError(f"{path}: shape {array.shape}; a vector needs a number at least")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused
        rows = np.ascontiguousarray(array, dtype=np.float32)
    _refuse_infinite(path, rows)
    return rows


def _refuse_infinite(path: Path, rows: Vectors) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise UserError(f"{path}: row {bad[0]}: not all numbers are finite; correct the file")
