"""The k nearest neighbours by faiss's IVF: for more nodes than the exact search can serve.

Candidates of a row are the nearest vectors in the cells that are searched, and the nodes with the
largest overlaps. The exact similarity chooses among them, so the edges have exact weights, and the
only errors are neighbours that are missed. Most of these lack a modality: the index knows nothing
of the larger weight that the other modality has then. The share of the exact neighbours that are
found is measured on a sample of rows, and the number of cells is raised until it is high enough.
"""

import logging
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brmrs.config.learning import LEAST_RECALL
from brmrs.errors import UserError
from brmrs.graphs.nearest import by_rows, edges
from brmrs.graphs.similarity import Edges, Modality, Similarity
from brmrs.graphs.top_k import largest
from brmrs.system import progress

LOG = logging.getLogger(__name__)
SAMPLE = 200  # rows on which the recall is measured
PER_EDGE = 8  # candidates of either kind for each edge that is kept
PER_CELL = 40  # vectors to train with, for each cell
FIRST_CELLS, LARGEST_SHARE = 8, 4  # cells searched at first; at most a LARGEST_SHARE-th of all
BLOCK = 4096  # rows searched at once


def nearest(similarity: Similarity, k: int, description: str) -> tuple[Edges, float]:
    """As `brmrs.graphs.nearest.nearest`, but some of the neighbours may be missed.

    Args:
        similarity: of n nodes, with the vectors of at least one modality.
        k: edges kept per row, at most.
        description: for the progress bar.

    Returns:
        The edges, and the share of the exact ones that were found, on `SAMPLE` rows.

    Raises:
        UserError: faiss is not installed.
    """
    index, nodes = _index(similarity), similarity.neighbours.shape[0]
    sample = np.arange(0, nodes, -(-nodes // SAMPLE))
    exact = _keys(edges([by_rows(similarity, k, sample)]), nodes)
    index.nprobe = FIRST_CELLS
    while True:
        found = _keys(edges([_of_rows(similarity, index, k, sample)]), nodes)
        recall = float(np.isin(exact, found).mean()) if len(exact) else 1.0
        if recall >= LEAST_RECALL or index.nprobe * LARGEST_SHARE >= index.nlist:
            break
        index.nprobe *= 2
    LOG.info(
        "%s: approximate neighbours, %d of %d cells searched; %.1f %% of the exact ones are found",
        *(description, index.nprobe, index.nlist, 100 * recall),
    )
    parts = []
    with progress.task(description, nodes) as work:
        for start, stop in pairwise([*range(0, nodes, BLOCK), nodes]):
            parts.append(_of_rows(similarity, index, k, np.arange(start, stop)))
            work.advance(stop - start)
    return edges(parts), recall


def _index(similarity: Similarity) -> Any:
    """The index of all nodes; half precision, because exact arithmetic follows."""
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            "graphs.neighbours=approximate needs faiss; pip install 'brmrs[serve]', or set "
            "graphs.neighbours=exact"
        ) from error
    nodes = similarity.neighbours.shape[0]
    cells = max(1, min(round(4 * nodes**0.5), nodes // PER_CELL))
    width = _vectors(similarity, np.arange(1)).shape[1]
    index = faiss.index_factory(width, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.train(_vectors(similarity, np.arange(0, nodes, max(1, nodes // (PER_CELL * cells)))))
    for start in range(0, nodes, BLOCK):
        index.add(_vectors(similarity, np.arange(start, min(start + BLOCK, nodes))))
    return index


def _vectors(similarity: Similarity, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """(b, sum of d) vectors whose inner products are sum_m beta_m cos."""
    parts = []
    for name in similarity.weighted:
        modality = similarity.modalities[name]
        assert isinstance(modality, Modality)  # the configuration refuses kNN tables
        parts.append(np.float32(similarity.beta[name] ** 0.5) * modality.units[rows])
    return np.concatenate(parts, axis=1)


def _of_rows(
    similarity: Similarity, index: Any, k: int, rows: NDArray[np.intp]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The edges of some rows, increasing."""
    nodes = similarity.neighbours.shape[0]
    near = index.search(_vectors(similarity, rows), PER_EDGE * k + 1)[1]
    own = np.repeat(np.arange(len(rows)), near.shape[1])
    keys = own[near.ravel() >= 0] * nodes + near.ravel()[near.ravel() >= 0]
    overlaps = None
    if similarity.alpha > 0:
        overlaps = similarity.overlaps(rows)
        overlaps.sort_indices()
        ends = np.repeat(np.arange(len(rows)), np.diff(overlaps.indptr))
        kept = largest(ends, overlaps.data, PER_EDGE * k + 1)
        keys = np.concatenate([keys, ends[kept] * nodes + overlaps.indices[kept]])
    place, columns = np.divmod(np.unique(keys), nodes)
    other = rows[place] != columns
    place, columns = place[other], columns[other]
    values = similarity.pairs(rows[place], columns, overlaps, place)
    positive = np.flatnonzero(values > 0)
    chosen = positive[largest(place[positive], values[positive], k)]
    return rows[place[chosen]], columns[chosen], values[chosen]


def _keys(found: Edges, nodes: int) -> NDArray[np.int64]:
    return found.rows.astype(np.int64) * nodes + found.columns
