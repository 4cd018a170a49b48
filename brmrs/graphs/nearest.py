"""The k nearest neighbours of every node by e_ij, exactly, in blocks of rows."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from brmrs.graphs.similarity import Edges, Similarity
from brmrs.graphs.top_k import best, largest
from brmrs.system import progress

Columns = Sequence[NDArray[np.generic]]  # (E,) rows, columns and weights, sorted by row and column


def nearest(similarity: Similarity, k: int, block_bytes: int, description: str = "graph") -> Edges:
    """The k nearest neighbours of every node by e_ij, without self loops, positive weights only.

    Args:
        similarity: of n nodes.
        k: edges kept per row, at most; ties go to the lower column.
        block_bytes: approximate memory of the rows computed at once; at least one row is computed.
            The result does not depend on it.
        description: for the progress bar.
    """
    parts = list(_blocks(similarity, k, block_bytes, description))
    rows, columns, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Edges(rows.astype(np.int32), columns.astype(np.int32), weights.astype(np.float32))


def _blocks(
    similarity: Similarity, k: int, block_bytes: int, description: str
) -> Iterator[Columns]:
    nearest_of = _by_overlap if similarity.sparse else _by_rows
    ends = similarity.row_bytes().cumsum()
    with progress.task(description, len(ends)) as work:
        start = 0
        while start < len(ends):
            room = block_bytes + (ends[start - 1] if start else 0)
            stop = max(start + 1, int(np.searchsorted(ends, room, side="right")))
            yield nearest_of(similarity, k, start, stop)
            work.advance(stop - start)
            start = stop


def _by_rows(similarity: Similarity, k: int, start: int, stop: int) -> Columns:
    """The edges of the rows from start to stop, from whole rows of e."""
    scores = similarity.rows(slice(start, stop))
    ends = np.arange(stop - start)
    scores[ends, start + ends] = -np.inf
    values, columns = best(torch.from_numpy(scores), k)
    columns, order = columns.sort(dim=1)
    values = values.gather(1, order)
    places = values > 0
    rows = start + places.nonzero()[:, 0]
    return rows.numpy(), columns[places].numpy(), values[places].numpy()


def _by_overlap(similarity: Similarity, k: int, start: int, stop: int) -> Columns:
    """As `_by_rows`, but only from pairs that have an overlap."""
    overlaps = similarity.overlaps(slice(start, stop))
    overlaps.sort_indices()
    rows = np.repeat(np.arange(start, stop), np.diff(overlaps.indptr))
    columns, scores = overlaps.indices, similarity.alpha * overlaps.data
    kept = np.flatnonzero((scores > 0) & (rows != columns))
    chosen = kept[largest(rows[kept], scores[kept], k)]
    return rows[chosen], columns[chosen], scores[chosen]
