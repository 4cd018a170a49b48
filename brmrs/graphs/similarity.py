"""The similarity e_ij of a homogeneous graph (docs/method.md, 2.1).

    e_ij = alpha overlap(N_i, N_j) + (1 - alpha) sum_m beta'_m cos(x_i^m, x_j^m)

A modality that i or j lacks contributes nothing to the pair. The betas of the shared modalities are
scaled to the sum of all betas: beta'_m = beta_m sum_m' beta_m' / sum_(m' shared) beta_m'. Without a
shared modality the second term is 0. Where nothing is missing, beta' = beta.

overlap of the sets A = N_i and B = N_j, each in [0, 1]:
    cosine   |A n B| / sqrt(|A| |B|)
    jaccard  |A n B| / |A u B|
    count    |A n B| / max_l |N_l|, the count of common neighbours, scaled for the whole graph
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from brmrs.graphs.sparse import products_of_pairs

Overlap = Literal["cosine", "jaccard", "count"]
Floats = NDArray[np.float64]
Rows = slice | NDArray[np.intp]  # of nodes

# Unit vectors are rounded to this grid: a float32 holds every multiple up to 1, and a product of
# two is a multiple of 2^-48. So a float64 dot product of unit vectors is *exact*, and the cosines,
# the ties among them and the graph do not depend on blocks, threads or the BLAS. The rounding moves
# a cosine by about 1e-8, less than float32 arithmetic would.
GRID = 2.0**24
TILE = 4096  # columns converted to float64 at once; bounds memory, not the result
RUNS = 64  # rows whose pairs a thread takes at once
DENSE_BYTES = 64  # for each pair: scores, shared betas, cosines; half of it if all pairs overlap
SPARSE_BYTES = 80  # for each pair with an overlap: the product, degrees, keys and order to sort by


@dataclass(frozen=True)
class Modality:
    """The vectors of one modality for n nodes.

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

    def cosines(self, rows: Rows) -> Floats:
        """(b, n) exact cosines of the rows with all nodes, 0 where either is not present."""
        block = self.units[rows].astype(np.float64)
        result = np.empty((len(block), len(self.units)))
        for start in range(0, len(self.units), TILE):
            tile = slice(start, start + TILE)
            np.matmul(block, self.units[tile].astype(np.float64).T, out=result[:, tile])
        return result

    def pair_cosines(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        kind: type[np.floating[Any]] = np.float64,
    ) -> Floats:
        """(E,) cosines of the pairs (rows[e], columns[e]); fastest if equal rows follow.

        They are exact, or sums of d products in float32, with the error of these.
        """
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        ends = np.append(starts, len(rows))
        if kind is np.float32:
            units = torch.from_numpy(self.units)
            own = units[torch.from_numpy(rows[starts])]
            found = products_of_pairs(own, units, torch.from_numpy(ends), torch.from_numpy(columns))
            near: Floats = found.double().numpy()
            return near
        runs = list(pairwise(ends.tolist()))
        result = np.empty(len(rows))

        def fill(some: list[tuple[int, int]]) -> None:
            for start, stop in some:
                own = self.units[rows[start]].astype(np.float64)
                others = self.units[columns[start:stop]].astype(np.float64)
                # einsum, because a BLAS with threads of its own would be slower in several threads
                result[start:stop] = np.einsum("ed,d->e", others, own)

        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(fill, [runs[i : i + RUNS] for i in range(0, len(runs), RUNS)]))
        return result


@dataclass(frozen=True)
class KnownCosines:
    """One modality of which only some cosines are known; all others count as 0.

    Attributes:
        matrix: (n, n) symmetric CSR of the known cosines.
        present: (n,) bool, nodes with a known cosine.
    """

    matrix: sp.csr_matrix
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, edges: "Edges", nodes: int) -> "KnownCosines":
        """Make the cosines symmetric: a missing (i, j) is filled from (j, i)."""
        rows = np.concatenate([edges.rows, edges.columns]).astype(np.int64)
        ends = np.concatenate([edges.columns, edges.rows]).astype(np.int64)
        keys, first = np.unique(rows * nodes + ends, return_index=True)
        values = np.concatenate([edges.weights, edges.weights]).astype(np.float64)[first]
        matrix = sp.csr_matrix((values, (keys // nodes, keys % nodes)), shape=(nodes, nodes))
        return cls(matrix, np.diff(matrix.indptr) > 0)

    def cosines(self, rows: Rows) -> Floats:
        """As `Modality.cosines`."""
        block: Floats = self.matrix[rows].toarray()
        return block

    def pair_cosines(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        kind: type[np.floating[Any]] = np.float64,
    ) -> Floats:
        """As `Modality.pair_cosines`; always exact."""
        del kind
        if len(rows) == 0:  # scipy returns a matrix then, not an array
            return np.zeros(0)
        return np.asarray(self.matrix[rows, columns], dtype=np.float64).ravel()


Cosines = Modality | KnownCosines


@dataclass(frozen=True)
class Similarity:
    """e_ij over n nodes.

    Attributes:
        neighbours: (n, m) binary CSR; row i is N_i.
        modalities: by name.
        beta: weight of each modality; a missing name means 0.
        alpha: weight of the overlap.
        overlap: its definition.
    """

    neighbours: sp.csr_matrix
    modalities: Mapping[str, Cosines]
    beta: Mapping[str, float]
    alpha: float
    overlap: Overlap

    @property
    def sparse(self) -> bool:
        """Whether only the overlap counts: most pairs then have e = 0 and are not computed."""
        return self.alpha == 1 or not any(self.beta.get(name, 0.0) > 0 for name in self.modalities)

    @property
    def weighted(self) -> list[str]:
        """The modalities that count."""
        return [name for name in self.modalities if self.beta.get(name, 0.0) > 0]

    @property
    def blank(self) -> NDArray[np.bool_]:
        """(n,) nodes without any modality that counts."""
        present = [self.modalities[name].present for name in self.weighted]
        return ~np.logical_or.reduce(present) if present else np.ones(self._size, dtype=np.bool_)

    def factors(self) -> tuple[NDArray[np.int64], Floats]:
        """(n,) pattern of each node, and (P, P) what turns sum_m beta_m cos of nodes of two
        patterns into the second term of e; 0 without a common modality.
        """
        total, scale = sum(self.beta.values()), 1 - self.alpha
        present = np.array([self.modalities[name].present for name in self.weighted])
        weights = np.array([self.beta[name] for name in self.weighted])
        if present.all():
            return np.zeros(self._size, dtype=np.int64), np.array([[scale * total / weights.sum()]])
        kinds, patterns = np.unique(present.T, axis=0, return_inverse=True)
        shared = (kinds * weights) @ kinds.T
        factors = np.divide(total, shared, out=np.zeros_like(shared), where=shared > 0)
        return patterns.ravel(), scale * factors

    @property
    def _size(self) -> int:
        return int(self.neighbours.shape[0])

    @cached_property
    def _transposed(self) -> sp.csr_matrix:
        return sp.csr_matrix(self.neighbours.T)

    def row_bytes(self) -> NDArray[np.int64]:
        """(n,) upper bound of the memory, in bytes, that a row of e takes during the search."""
        if not self.sparse:
            nodes = self.neighbours.shape[0]
            return np.full(nodes, DENSE_BYTES * nodes)
        common = self.neighbours @ np.diff(self._transposed.indptr)
        return np.asarray(SPARSE_BYTES * common, dtype=np.int64)

    def rows(self, rows: Rows) -> Floats:
        """(b, n) rows of e."""
        scores = self._of_cosines(rows)
        if self.alpha > 0:
            overlaps = self.overlaps(rows)
            ends = np.repeat(np.arange(len(scores)), np.diff(overlaps.indptr))
            scores[ends, overlaps.indices] += self.alpha * overlaps.data
        return scores

    def _of_cosines(self, rows: Rows) -> Floats:
        """(b, n) rows of (1 - alpha) sum_m beta'_m cos."""
        size = self.neighbours.shape[0]
        scores = np.zeros((len(np.arange(size)[rows]), size))
        if self.sparse:
            return scores

        def part(of: Cosines) -> tuple[Floats, Any]:
            has = of.present
            both = 1.0 if has.all() else np.logical_and.outer(has[rows], has)
            return of.cosines(rows), both

        return self._mixed(scores, part)

    def pairs(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        overlaps: sp.csr_matrix | None,
        place: NDArray[np.integer],
        kind: type[np.floating[Any]] = np.float64,
    ) -> Floats:
        """(E,) e of the pairs (rows[e], columns[e]), the same numbers as in `rows`.

        Args:
            rows: (E,).
            columns: (E,).
            overlaps: those of some rows, sorted; None: they do not count.
            place: (E,) the row of `overlaps` that belongs to rows[e].
            kind: float32: the cosines have the error of their sums, and take a fifth of the time.
        """

        def part(of: Cosines) -> tuple[Floats, Any]:
            has = of.present
            both = 1.0 if has.all() else has[rows] & has[columns]
            return of.pair_cosines(rows, columns, kind), both

        scores = self._mixed(np.zeros(len(rows)), part)
        if overlaps is not None and overlaps.nnz:
            size = self.neighbours.shape[0]
            ends = np.repeat(np.arange(overlaps.shape[0]), np.diff(overlaps.indptr))
            known = ends * size + overlaps.indices
            keys = place * size + columns
            found = np.searchsorted(known, keys).clip(max=len(known) - 1)
            scores += np.where(known[found] == keys, self.alpha * overlaps.data[found], 0.0)
        return scores

    def _mixed(self, scores: Floats, part: Callable[["Cosines"], tuple[Floats, Any]]) -> Floats:
        """(1 - alpha) sum_m beta'_m cos, added to zeros in place.

        Args:
            scores: zeros of the shape of the pairs.
            part: of a modality, the cosines and whether both ends have it; 1.0: all have.
        """
        shared: Any = 0.0
        for name in self.weighted:
            weight = self.beta[name]
            cosines, both = part(self.modalities[name])
            cosines *= weight
            scores += cosines
            shared = shared + weight * both
        # If no modality is missing, total / shared is exactly 1.0.
        total = sum(self.beta.values())
        if isinstance(shared, float):
            scores *= (1 - self.alpha) * (total / shared)
        else:
            np.divide(total, shared, out=shared, where=shared > 0)
            scores *= np.multiply(1 - self.alpha, shared, out=shared)
        return scores

    def overlaps(self, rows: Rows) -> sp.csr_matrix:
        """(b, n) CSR of the overlaps of the rows with all nodes, those above 0."""
        common = sp.csr_matrix(self.neighbours[rows] @ self._transposed, dtype=np.float64)
        ends = np.repeat(np.arange(len(self._degrees))[rows], np.diff(common.indptr))
        common.data = self._overlap(common.data, ends, common.indices)
        return common

    @cached_property
    def _degrees(self) -> Floats:
        return np.diff(self.neighbours.indptr).astype(np.float64)

    def _overlap(
        self, common: Floats, rows: NDArray[np.integer], columns: NDArray[np.integer]
    ) -> Floats:
        """(E,) overlaps of pairs, from their (E,) numbers of common neighbours."""
        left, right = self._degrees[rows], self._degrees[columns]
        if self.overlap == "cosine":
            size = np.sqrt(left * right)
        elif self.overlap == "jaccard":
            size = left + right - common
        else:
            size = np.full_like(common, self._degrees.max(initial=0.0))
        shares: Floats = np.divide(common, size, out=np.zeros_like(common), where=common > 0)
        return shares


@dataclass(frozen=True)
class Edges:
    """A homogeneous graph, sorted by (row, column): rows, columns (E,) int32, weights float32."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]
