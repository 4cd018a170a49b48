"""The k nearest neighbours of every node by e_ij, exactly, in blocks of rows."""

import logging
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.graphs import candidates, leading
from brmrs.graphs.candidates import Found
from brmrs.graphs.first_pass import FirstPass
from brmrs.graphs.similarity import Edges, Similarity
from brmrs.graphs.top_k import best, largest
from brmrs.system import progress
from brmrs.system.workers import side_by_side

LOG = logging.getLogger(__name__)
Columns = Sequence[NDArray[np.generic]]  # (E,) rows, columns and weights, sorted by row and column
Rows = NDArray[np.intp]
ROWS = 1024  # of a block, at most; more make the products no faster


def nearest(similarity: Similarity, k: int, block_bytes: int, description: str = "graph") -> Edges:
    """The k nearest neighbours of every node by e_ij, without self loops, positive weights only.

    Args:
        similarity: of n nodes.
        k: edges kept per row, at most; ties go to the lower column.
        block_bytes: approximate memory of the rows computed at once; at least one row is computed.
            The result does not depend on it.
        description: for the progress bar and the log.
    """
    dense = candidates.usable(similarity)
    blocks = _by_candidates if dense else _blocks
    return edges(list(blocks(similarity, k, block_bytes, description)))


def edges(parts: Sequence[Columns]) -> Edges:
    """The graph of some parts, each of other rows."""
    rows, columns, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    if (np.diff(rows) < 0).any():
        order = np.lexsort((columns, rows))
        rows, columns, weights = rows[order], columns[order], weights[order]
    return Edges(rows.astype(np.int32), columns.astype(np.int32), weights.astype(np.float32))


def _by_candidates(
    similarity: Similarity, k: int, block_bytes: int, description: str
) -> Iterator[Columns]:
    """The edges of some rows at a time, in order, then those of rows with too many candidates.

    Each thread searches whole blocks by itself: much of a search cannot be split among threads.
    """
    first_pass = FirstPass(similarity, leading.chosen(similarity, k, description))
    nodes, threads = similarity.neighbours.shape[0], torch.get_num_threads()
    size = block_bytes // (threads * candidates.BYTES_PER_PAIR * nodes)
    size = min(ROWS, -(-nodes // threads), max(1, size))
    starts, rooms = range(0, nodes, size), SimpleQueue[Tensor]()
    for _ in range(threads):
        rooms.put(first_pass.room(size))

    def found(start: int) -> list[Found]:
        room = rooms.get()
        try:
            return candidates.block(similarity, first_pass, k, room[: nodes - start], start)
        finally:
            rooms.put(room)

    left = []
    with progress.task(description, nodes) as work, side_by_side() as pool:
        for start, parts in zip(starts, pool.map(found, starts), strict=True):
            for part in parts:
                yield part.rows, part.columns, part.weights
                left.append(part.left)
            work.advance(min(size, nodes - start))
    yield from _left(similarity, k, block_bytes, np.concatenate(left), description)


def _left(
    similarity: Similarity, k: int, block_bytes: int, rows: Rows, description: str
) -> Iterator[Columns]:
    """The edges of rows with too many candidates.

    Rows without any modality do not need all pairs: only their overlaps are above 0.
    """
    blank = similarity.blank[rows]
    yield _by_overlap(similarity, k, rows[blank])
    full = rows[~blank]
    if not len(full):
        return
    size = max(1, block_bytes // int(similarity.row_bytes()[0]))
    for some in np.split(full, range(size, len(full), size)):
        yield by_rows(similarity, k, some)
    LOG.info(
        "%s: %d of %d rows needed the exact similarity of all pairs",
        *(description, len(full), similarity.neighbours.shape[0]),
    )


def _blocks(
    similarity: Similarity, k: int, block_bytes: int, description: str
) -> Iterator[Columns]:
    nearest_of = _by_overlap if similarity.sparse else by_rows
    ends = similarity.row_bytes().cumsum()
    with progress.task(description, len(ends)) as work:
        start = 0
        while start < len(ends):
            room = block_bytes + (ends[start - 1] if start else 0)
            stop = max(start + 1, int(np.searchsorted(ends, room, side="right")))
            yield nearest_of(similarity, k, np.arange(start, stop))
            work.advance(stop - start)
            start = stop


def by_rows(similarity: Similarity, k: int, rows: NDArray[np.intp]) -> Columns:
    """The edges of some rows, increasing, from whole rows of e."""
    scores = similarity.rows(rows)
    scores[np.arange(len(rows)), rows] = -np.inf
    values, columns = best(torch.from_numpy(scores), k)
    columns, order = columns.sort(dim=1)
    values = values.gather(1, order)
    places = values > 0
    of_rows = rows[places.nonzero()[:, 0].numpy()]
    return of_rows, columns[places].numpy(), values[places].numpy()


def _by_overlap(similarity: Similarity, k: int, rows: NDArray[np.intp]) -> Columns:
    """As `by_rows`, but only from pairs that have an overlap."""
    overlaps = similarity.overlaps(rows)
    overlaps.sort_indices()
    ends = np.repeat(rows, np.diff(overlaps.indptr))
    columns, scores = overlaps.indices, similarity.alpha * overlaps.data
    kept = np.flatnonzero((scores > 0) & (ends != columns))
    chosen = kept[largest(ends[kept], scores[kept], k)]
    return ends[chosen], columns[chosen], scores[chosen]
