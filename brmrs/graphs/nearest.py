"""The k nearest neighbours of every node by e_ij, exactly, in blocks of rows."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from brmrs.graphs import candidates, leading
from brmrs.graphs.candidates import Part
from brmrs.graphs.first_pass import FirstPass
from brmrs.graphs.similarity import Edges, Modality, Similarity
from brmrs.graphs.top_k import best, largest
from brmrs.system import progress

LOG = logging.getLogger(__name__)
Columns = Sequence[NDArray[np.generic]]  # (E,) rows, columns and weights, sorted by row and column


@dataclass(frozen=True)
class Wanted:
    """A graph to make.

    Attributes:
        similarity: of n nodes.
        k: edges kept per row, at most; ties go to the lower column.
    """

    similarity: Similarity
    k: int


def nearest(similarity: Similarity, k: int, block_bytes: int, description: str = "graph") -> Edges:
    """The k nearest neighbours of every node by e_ij, without self loops, positive weights only.

    Args:
        similarity: of n nodes.
        k: edges kept per row, at most; ties go to the lower column.
        block_bytes: approximate memory of the rows computed at once; at least one row is computed.
            The result does not depend on it.
        description: for the progress bar.
    """
    return nearest_of_each({description: Wanted(similarity, k)}, block_bytes)[description]


def nearest_of_each(wanted: Mapping[str, Wanted], block_bytes: int) -> dict[str, Edges]:
    """As `nearest`, of several graphs, by name. Graphs of the same vectors share the first pass.

    Args:
        wanted: by the name that the progress bar shows.
        block_bytes: as for `nearest`.
    """
    dense = {name: each for name, each in wanted.items() if candidates.usable(each.similarity)}
    found = _by_candidates(dense, block_bytes) if dense else {}
    for name, each in wanted.items():
        if name not in dense:
            found[name] = list(_blocks(each.similarity, each.k, block_bytes, name))
    return {name: edges(parts) for name, parts in found.items()}


def edges(parts: Sequence[Columns]) -> Edges:
    """The graph of some parts, in their order."""
    rows, columns, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Edges(rows.astype(np.int32), columns.astype(np.int32), weights.astype(np.float32))


def _by_candidates(wanted: Mapping[str, Wanted], block_bytes: int) -> dict[str, list[Columns]]:
    """The edges of graphs over the same nodes, block by block."""
    vectors: dict[str, Modality] = {}
    for each in wanted.values():
        for name in each.similarity.weighted:
            modality = each.similarity.modalities[name]
            assert isinstance(modality, Modality)  # as `usable` says
            assert vectors.setdefault(name, modality) is modality
    passes, weights = _first_passes(vectors, wanted)
    nodes = len(next(iter(vectors.values())).units)
    size = max(1, block_bytes // (candidates.BYTES_PER_PAIR * nodes))
    few = max(1, candidates.AT_ONCE // nodes)
    parts: dict[str, list[Columns]] = {name: [] for name in wanted}
    exact = dict.fromkeys(wanted, 0)
    with progress.task(", ".join(wanted), nodes) as work:
        for start, stop in pairwise([*range(0, nodes, size), nodes]):
            cosines = {name: each.cosines(start, stop) for name, each in passes.items()}
            for first, last in pairwise([*range(0, stop - start, few), stop - start]):
                for name, each in wanted.items():
                    of = [
                        Part(weight, cosines[part].rows(first, last))
                        for part, weight in weights[name].items()
                    ]
                    found = candidates.search(each.similarity, of, each.k, start + first)
                    completed, count = _completed(each, found, block_bytes)
                    parts[name].append(completed)
                    exact[name] += count
            work.advance(stop - start)
    for name, count in exact.items():
        if count:
            LOG.info(
                "%s: %d of %d rows needed the exact similarity of all pairs", name, count, nodes
            )
    return parts


def _first_passes(
    vectors: Mapping[str, Modality], wanted: Mapping[str, Wanted]
) -> tuple[dict[str, FirstPass], dict[str, dict[str, float]]]:
    """The first passes by name, and for each graph the weights of those that it sums up.

    There is one of each modality. If only one graph is made, of vectors in few directions, they are
    put side by side: one product then has the sum.
    """
    kinds = {name: (each.similarity, each.k) for name, each in wanted.items()}
    arrays = leading.reduced(vectors, kinds)
    weights = {
        name: {part: each.similarity.beta[part] for part in each.similarity.weighted}
        for name, each in wanted.items()
    }
    if len(wanted) == 1 and any(arrays[name] is not vectors[name].units for name in vectors):
        ((name, beta),) = weights.items()
        arrays = {name: leading.side_by_side(arrays, beta)}
        weights = {name: {name: sum(beta.values())}}
    return {name: FirstPass(units) for name, units in arrays.items()}, weights


def _completed(wanted: Wanted, found: candidates.Found, block_bytes: int) -> tuple[Columns, int]:
    """The edges of a block with those of the rows that had too many candidates.

    Also the number of rows that needed all exact pairs. Rows without any modality do not: only
    their overlaps are above 0.
    """
    certain: Columns = (found.rows, found.columns, found.weights)
    if not len(found.left):
        return certain, 0
    similarity, k = wanted.similarity, wanted.k
    blank = similarity.blank[found.left]
    parts = [certain, _by_overlap(similarity, k, found.left[blank])]
    full = found.left[~blank]
    size = max(1, block_bytes // int(similarity.row_bytes()[0]))
    parts += [by_rows(similarity, k, some) for some in np.split(full, range(size, len(full), size))]
    rows, columns, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((columns, rows))
    return (rows[order], columns[order], weights[order]), len(full)


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
