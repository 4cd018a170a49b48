"""Exact top-k of the similarity e_ij (method/000, 'homogeneous graph construction').

    e_ij = alpha overlap(N_i, N_j) + (1 - alpha) sum_m beta'_m cos(x_i^m, x_j^m)

A modality that i or j lacks contributes nothing to the pair, and the betas of those that both
have keep the sum of all: beta'_m = beta_m sum_m' beta_m' / sum_(m' shared) beta_m'; 0 where none
is shared. Where nothing is missing, beta' = beta.

overlap of the sets A = N_i and B = N_j, each in [0, 1]:
    cosine   |A n B| / sqrt(|A| |B|)
    jaccard  |A n B| / |A u B|
    count    |A n B| / max_l |N_l|, a plain count up to one constant of the graph
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from brmrs import progress

Overlap = Literal["cosine", "jaccard", "count"]
Floats = NDArray[np.float64]

# Unit vectors are rounded to this grid: a float32 holds every multiple up to 1, and a product of
# two is a multiple of 2^-48, so that a float64 dot product of unit vectors is *exact*. Hence the
# cosines, the ties among them and the graph do not depend on blocks, threads or the BLAS. The
# rounding moves a cosine by about 1e-8, less than float32 arithmetic would.
GRID = 2.0**24
TILE = 4096  # columns converted to float64 at once; bounds memory, not the result
DENSE_BYTES = 40  # for each pair: scores, shared betas, one modality's cosines, what top_k makes
SPARSE_BYTES = 80  # for each pair with an overlap: the product, degrees, keys and order to sort by


@dataclass(frozen=True)
class Modality:
    """What one modality gives to the similarity of n nodes.

    Attributes:
        units: (n, d) float32 unit vectors on the grid, zero where not present.
        present: (n,) bool.
    """

    units: NDArray[np.float32]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], present: NDArray[np.bool_]) -> "Modality":
        """Normalise (n, d) vectors; a vector of length 0 has no direction and counts as absent."""
        units = np.zeros(vectors.shape, dtype=np.float32)
        usable = present.copy()
        for start in range(0, len(vectors), TILE):
            rows = slice(start, start + TILE)
            block = vectors[rows].astype(np.float64)
            norms = np.sqrt(np.square(block).sum(axis=1))
            usable[rows] &= norms > 0
            block = block[usable[rows]] / norms[usable[rows], None]
            units[rows][usable[rows]] = np.rint(block * GRID) / GRID
        return cls(units, usable)

    def cosines(self, rows: slice) -> Floats:
        """(b, n) exact cosines of the rows with all nodes, 0 where either is not present."""
        block = self.units[rows].astype(np.float64)
        result = np.empty((len(block), len(self.units)))
        for start in range(0, len(self.units), TILE):
            tile = slice(start, start + TILE)
            np.matmul(block, self.units[tile].astype(np.float64).T, out=result[:, tile])
        return result

    def pair_cosines(self, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> Floats:
        """(E,) cosines of the pairs (rows[e], columns[e])."""
        result = np.empty(len(rows))
        for start in range(0, len(rows), TILE):
            part = slice(start, start + TILE)
            left, right = self.units[rows[part]], self.units[columns[part]]
            result[part] = np.einsum("ed,ed->e", left, right, dtype=np.float64)
        return result


@dataclass(frozen=True)
class KnownCosines:
    """What one modality gives where only some cosines are known; all others count as 0.

    Attributes:
        matrix: (n, n) symmetric CSR of the known cosines.
        present: (n,) bool, nodes with a known cosine.
    """

    matrix: sp.csr_matrix
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, edges: "Edges", nodes: int) -> "KnownCosines":
        """A cosine that is known of (i, j) is known of (j, i); their own entries come first."""
        rows = np.concatenate([edges.rows, edges.columns]).astype(np.int64)
        ends = np.concatenate([edges.columns, edges.rows]).astype(np.int64)
        keys, first = np.unique(rows * nodes + ends, return_index=True)
        values = np.concatenate([edges.weights, edges.weights]).astype(np.float64)[first]
        matrix = sp.csr_matrix((values, (keys // nodes, keys % nodes)), shape=(nodes, nodes))
        return cls(matrix, np.diff(matrix.indptr) > 0)

    def cosines(self, rows: slice) -> Floats:
        """As `Modality.cosines`."""
        block: Floats = self.matrix[rows].toarray()
        return block

    def pair_cosines(self, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> Floats:
        """As `Modality.pair_cosines`."""
        return np.asarray(self.matrix[rows, columns], dtype=np.float64).ravel()


@dataclass(frozen=True)
class Similarity:
    """e_ij over n nodes.

    Attributes:
        neighbours: (n, m) binary CSR; row i is N_i.
        modalities: by name.
        beta: weight of each modality; one that is not named weighs 0.
        alpha: weight of the overlap.
        overlap: its definition.
    """

    neighbours: sp.csr_matrix
    modalities: Mapping[str, "Modality | KnownCosines"]
    beta: Mapping[str, float]
    alpha: float
    overlap: Overlap

    @property
    def sparse(self) -> bool:
        """Whether the overlap is all there is: most pairs then have e = 0, and none is stored."""
        return self.alpha == 1 or not any(self.beta.get(name, 0.0) > 0 for name in self.modalities)

    @cached_property
    def _transposed(self) -> sp.csr_matrix:
        return sp.csr_matrix(self.neighbours.T)

    def row_bytes(self) -> NDArray[np.int64]:
        """(n,) memory that each row of e takes while its nearest are looked for, at most."""
        if not self.sparse:
            nodes = self.neighbours.shape[0]
            return np.full(nodes, DENSE_BYTES * nodes)
        common = self.neighbours @ np.diff(self._transposed.indptr)
        return np.asarray(SPARSE_BYTES * common, dtype=np.int64)

    def rows(self, rows: slice) -> Floats:
        """(b, n) rows of e."""
        size = self.neighbours.shape[0]
        scores = np.zeros((len(range(*rows.indices(size))), size))
        if self.alpha < 1:
            self._add_cosines(scores, rows)
        if self.alpha > 0:
            overlaps = self.overlaps(rows)
            ends = np.repeat(np.arange(len(scores)), np.diff(overlaps.indptr))
            scores[ends, overlaps.indices] += self.alpha * overlaps.data
        return scores

    def overlaps(self, rows: slice) -> sp.csr_matrix:
        """(b, n) CSR of the overlaps of the rows with all nodes, those above 0."""
        degrees = np.diff(self.neighbours.indptr).astype(np.float64)
        common = sp.csr_matrix(self.neighbours[rows] @ self._transposed, dtype=np.float64)
        left = np.repeat(degrees[rows], np.diff(common.indptr))
        right = degrees[common.indices]
        if self.overlap == "cosine":
            common.data /= np.sqrt(left * right)
        elif self.overlap == "jaccard":
            common.data /= left + right - common.data
        else:
            common.data /= degrees.max()
        return common

    def _add_cosines(self, scores: Floats, rows: slice) -> None:
        weights = {name: self.beta.get(name, 0.0) for name in self.modalities}
        shared = np.zeros_like(scores)
        for name, modality in self.modalities.items():
            if weights[name] > 0:
                scores += weights[name] * modality.cosines(rows)
                shared += weights[name] * np.outer(modality.present[rows], modality.present)
        # Multiplying by 1.0 changes no bit, so a pair that lacks nothing gets the plain formula.
        total = sum(self.beta.values())
        factor = np.divide(total, shared, out=shared, where=shared > 0)
        scores *= (1 - self.alpha) * factor


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


@dataclass(frozen=True)
class Edges:
    """A homogeneous graph, sorted by (row, column): rows, columns (E,) int32, weights float32."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]


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
    scores = similarity.rows(slice(start, stop))
    ends = np.arange(len(scores))
    scores[ends, start + ends] = -np.inf
    rows, columns = np.nonzero(top_k(scores, k))
    return rows + start, columns, scores[rows, columns]


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
