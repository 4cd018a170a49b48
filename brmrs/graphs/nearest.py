"""The k nearest neighbours of every node by e_ij, exactly, in blocks of rows.

Float32 finds the candidates, in less than half the time of float64 and half the memory, and float64
tells them apart: the graph is the one that float64 alone would give, bit by bit.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from brmrs.graphs.similarity import Edges, Floats, Similarity
from brmrs.system import progress

Places = NDArray[np.intp]
CANDIDATES_PAY = 64  # an exact pair on its own takes about so many times what it takes in a row


def nearest(similarity: Similarity, k: int, block_bytes: int, description: str = "graph") -> Edges:
    """The k nearest neighbours of every node by e_ij, without self loops, positive weights only.

    Args:
        similarity: of n nodes.
        k: edges kept per row, at most; ties go to the lower column.
        block_bytes: about what the rows computed at once may take, at least one row; the result
            does not depend on it.
        description: for the progress bar.
    """
    parts = list(_blocks(similarity, k, block_bytes, description))
    rows, columns, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Edges(rows.astype(np.int32), columns.astype(np.int32), weights.astype(np.float32))


def _blocks(
    similarity: Similarity, k: int, block_bytes: int, description: str
) -> Iterator[Sequence[NDArray[np.generic]]]:
    nearest_of = _nearest_of_overlaps if similarity.sparse else _nearest_of_all
    ends = similarity.row_bytes().cumsum()
    with progress.task(description, len(ends)) as work:
        start = 0
        while start < len(ends):
            room = block_bytes + (ends[start - 1] if start else 0)
            stop = max(start + 1, int(np.searchsorted(ends, room, side="right")))
            yield nearest_of(similarity, k, start, stop)
            work.advance(stop - start)
            start = stop


def _nearest_of_all(
    similarity: Similarity, k: int, start: int, stop: int
) -> Sequence[NDArray[np.generic]]:
    """Rows, columns and weights, sorted so, of the rows from start to stop."""
    if np.isinf(similarity.error):
        return _nearest_of_rows(similarity, k, np.arange(start, stop))
    rows, columns, crowded = _candidates(similarity, k, start, stop)
    scores = similarity.pairs(rows, columns)
    positive = np.flatnonzero(scores > 0)
    best = positive[largest(rows[positive], scores[positive], k)]
    found = rows[best], columns[best], scores[best]
    if len(crowded) == 0:
        return found
    parts = zip(found, _nearest_of_rows(similarity, k, crowded), strict=True)
    rows, columns, scores = (np.concatenate(part) for part in parts)
    order = np.argsort(rows, kind="stable")  # each row is of one part
    return rows[order], columns[order], scores[order]


def _candidates(
    similarity: Similarity, k: int, start: int, stop: int
) -> tuple[Places, Places, Places]:
    """Rows and columns, sorted so, of a superset of the k nearest; and the rows with too many.

    Of an estimate off by E at most: k nodes are at least as near as the k-th largest estimate less
    E, so one of the k nearest has an estimate of that less 2 E at least.
    """
    estimates = similarity.estimates(slice(start, stop))
    ends = np.arange(stop - start)
    estimates[ends, start + ends] = -np.inf
    largest_k = torch.from_numpy(estimates).topk(min(k, estimates.shape[1])).values
    kth = largest_k[:, -1:].numpy().astype(np.float64)
    low = np.maximum(kth - 2 * similarity.error, -similarity.error).astype(np.float32)
    likely = estimates >= np.nextafter(low, np.float32(-np.inf))
    likely[similarity.alone[start:stop]] = False
    crowded = np.flatnonzero(likely.sum(axis=1) * CANDIDATES_PAY > likely.shape[1])
    likely[crowded] = False
    rows, columns = np.nonzero(likely)
    return rows + start, columns, crowded + start


def _nearest_of_rows(similarity: Similarity, k: int, rows: Places) -> Sequence[NDArray[np.generic]]:
    """As `_nearest_of_all`, from whole rows of e: where many nodes are as near as the k nearest."""
    scores = similarity.rows(rows)
    scores[np.arange(len(rows)), rows] = -np.inf
    ends, columns = np.nonzero(top_k(scores, k))
    return rows[ends], columns, scores[ends, columns]


def _nearest_of_overlaps(
    similarity: Similarity, k: int, start: int, stop: int
) -> Sequence[NDArray[np.generic]]:
    """As `_nearest_of_all`, from the pairs alone that have an overlap."""
    overlaps = similarity.overlaps(slice(start, stop))
    overlaps.sort_indices()
    rows = np.repeat(np.arange(start, stop), np.diff(overlaps.indptr))
    columns, scores = overlaps.indices, similarity.alpha * overlaps.data
    kept = np.flatnonzero((scores > 0) & (rows != columns))
    best = kept[largest(rows[kept], scores[kept], k)]
    return rows[best], columns[best], scores[best]


def top_k(scores: Floats, k: int) -> NDArray[np.bool_]:
    """(b, n) mask of the k largest positive scores of each row; ties go to the lower column."""
    k = min(k, scores.shape[1])
    kth = np.partition(scores, -k, axis=1)[:, -k, None]
    above = scores > kth
    ties = scores == kth
    room = k - above.sum(axis=1, keepdims=True)
    tied = ties & (ties.cumsum(axis=1, dtype=np.int32) <= room)
    kept: NDArray[np.bool_] = (above | tied) & (scores > 0)
    return kept


def largest(rows: NDArray[np.integer], scores: Floats, k: int) -> NDArray[np.intp]:
    """Places of the k largest of the (E,) scores of each row, increasing; ties go to the first.

    Args:
        rows: (E,) increasing.
        scores: (E,).
        k: entries kept per row, at most.
    """
    order = np.lexsort((-scores, rows))  # stable
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return np.sort(order[place < k])
