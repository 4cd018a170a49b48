"""The latest interaction of every (user, item) pair, when not all rows fit in memory.

The rows are distributed by ranges of users, so that all rows of a pair are in one part.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from brmrs.ingest.interactions import Interactions, latest, positive
from brmrs.ingest.kcore import Block
from brmrs.ingest.out_of_core import files
from brmrs.ingest.out_of_core.chunks import Chunk


@dataclass(frozen=True)
class Blocks:
    """Pairs in a file, as blocks for the k-core.

    Attributes:
        file: of records `files.PAIR`.
        at_once: pairs of a block.
    """

    file: BinaryIO
    at_once: int

    def __iter__(self) -> Iterator[Block]:
        for block in files.blocks_of(self.file, files.PAIR, self.at_once):
            yield np.ascontiguousarray(block["user"]), np.ascontiguousarray(block["item"])


@dataclass(frozen=True)
class Pairs:
    """One interaction for each (user, item) pair, sorted by user and item, on disk.

    Attributes:
        blocks: the pairs.
        values: file of their ratings and times, records `files.VALUE`.
        distinct: number of pairs before the minimum rating.
        count: number of pairs.
    """

    blocks: Blocks
    values: BinaryIO
    distinct: int
    count: int

    def __iter__(self) -> Iterator[Interactions]:
        """Block by block."""
        values = files.blocks_of(self.values, files.VALUE, self.blocks.at_once)
        for (user, item), value in zip(self.blocks, values, strict=True):
            yield Interactions(
                user,
                item,
                np.ascontiguousarray(value["rating"]),
                np.ascontiguousarray(value["timestamp"]),
            )


def hold(folder: Path, blocks: Iterator[Block], at_once: int) -> Blocks:
    """Hold blocks in a file without a name, which is gone when it is no longer used."""
    file = _nameless(folder)
    for user, item in blocks:
        pairs = np.empty(len(user), dtype=files.PAIR)
        pairs["user"], pairs["item"] = user, item
        files.write(file, pairs)
    return Blocks(file, at_once)


def latest_of_pairs(
    chunks: Sequence[Chunk], n_users: int, min_rating: float | None, folder: Path, at_once: int
) -> Pairs:
    """Keep the latest of each pair, then those with the minimum rating. Removes the chunks.

    Args:
        chunks: with numbered ids.
        n_users: number of users.
        min_rating: as the setting.
        folder: of scratch files.
        at_once: rows, about, that are sorted in memory.
    """
    parts = _distribute(chunks, _bounds(chunks, n_users, at_once), folder)
    pairs, values, distinct, count = _nameless(folder), _nameless(folder), 0, 0
    for path in parts:
        rows = files.read(path, files.ROW)
        path.unlink(missing_ok=True)
        of_pairs = latest(
            Interactions(*(np.ascontiguousarray(rows[name]) for name in files.ROW.names or ()))
        )
        kept = positive(of_pairs, min_rating)
        distinct += len(of_pairs)
        count += len(kept)
        _write(pairs, values, kept)
    return Pairs(Blocks(pairs, at_once), values, distinct, count)


def _write(pairs: BinaryIO, values: BinaryIO, interactions: Interactions) -> None:
    for file, kind in ((pairs, files.PAIR), (values, files.VALUE)):
        records = np.empty(len(interactions), dtype=kind)
        for name in kind.names or ():
            records[name] = getattr(interactions, name)
        files.write(file, records)


def _nameless(folder: Path) -> Any:
    return tempfile.TemporaryFile(dir=folder)


def _bounds(chunks: Sequence[Chunk], n_users: int, at_once: int) -> NDArray[np.int32]:
    """The first users of all parts but the first; a part has about `at_once` rows."""
    rows = np.zeros(n_users, dtype=np.int32)
    for chunk in chunks:
        local = files.read(chunk.path, files.ROW)["user"]
        rows[chunk.users.codes()] += np.bincount(local, minlength=chunk.users.count).astype(
            np.int32
        )
    ends = np.cumsum(rows, dtype=np.int64)
    total = int(ends[-1]) if n_users else 0
    cuts = np.searchsorted(ends, np.arange(at_once, total, at_once)) + 1
    return np.unique(cuts).astype(np.int32)


def _distribute(chunks: Sequence[Chunk], bounds: NDArray[np.int32], folder: Path) -> list[Path]:
    """The rows by parts of users, with the codes of all ids."""
    paths = [folder / f"part-{number}.rows" for number in range(len(bounds) + 1)]
    for chunk in chunks:
        rows = files.read(chunk.path, files.ROW)
        rows["user"] = chunk.users.codes()[rows["user"]]
        rows["item"] = chunk.items.codes()[rows["item"]]
        part = np.searchsorted(bounds, rows["user"], side="right")
        part = part.astype(np.min_scalar_type(len(bounds)))  # narrow ones are sorted faster
        rows = rows[np.argsort(part, kind="stable")]
        ends = np.cumsum(np.bincount(part, minlength=len(paths)))
        for path, own in zip(paths, np.split(rows, ends[:-1]), strict=True):
            files.append(path, own)
        for path in (chunk.path, chunk.users.codes_path, chunk.items.codes_path):
            path.unlink()
    return paths
