"""Vectors in a few leading directions, so that the first pass needs fewer multiplications.

With orthonormal directions Q (d, r), c = Q'x and s = |x - Q c|,

    x y  =  c_x c_y + (x - Q c_x) (y - Q c_y)  <=  c_x c_y + s_x s_y          (Cauchy-Schwarz)

So products of the r + 1 numbers (c, s) are upper bounds of the cosines, and (c, s) is as long as x.
The search by candidates needs no more than upper bounds: the edges do not depend on Q. Few
directions leave more candidates, whose exact similarity costs more, so r is chosen by a trial on
some rows. Means of many vectors, such as those of users, need few directions.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brmrs.graphs.similarity import Modality, Similarity

LOG = logging.getLogger(__name__)
SIZES = (63, 127, 255, 511)  # directions that are tried; with s, whole tiles of the processor
WORTH = 5e12  # multiplications of all pairs; below, the trial and the directions cost too much
# What a number of a candidate costs, in multiplications of the first pass.
EXACT = 48
ROWS, COLUMNS, FITTED = 32, 4096, 4096  # nodes of the trial; nodes that the directions are made of
ROUNDED = 0.004  # error of a cosine by bfloat16, about; only for the trial
TILE = 4096  # rows converted to float64 at once; bounds memory
SLACK = 1e-11  # larger than the error of s^2, which comes from sums of d products in float64

Floats = NDArray[np.float64]
Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]  # (t,) rows and (c,) columns of the trial


@dataclass(frozen=True)
class Trial:
    """The exact similarity of some rows of a graph, to count its candidates.

    Attributes:
        similarity: of n nodes.
        rows: (t,) nodes.
        columns: (c,) nodes.
        scores: (t, c) their exact e.
        kth: (t,) the k-th largest e of each row among all nodes, at least 0.
        factors: what turns sum_m beta_m cos of the pairs into the second term of e.
    """

    similarity: Similarity
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    scores: Floats
    kth: Floats
    factors: Floats

    @classmethod
    def of(cls, similarity: Similarity, k: int) -> "Trial":
        """Compute the exact similarity of `ROWS` rows with all nodes."""
        nodes = similarity.neighbours.shape[0]
        rows, columns = _evenly(nodes, ROWS), _evenly(nodes, COLUMNS)
        scores = similarity.rows(rows)
        scores[np.arange(len(rows)), rows] = -np.inf
        place = max(nodes - k, 0)
        kth = np.maximum(np.partition(scores, place, axis=1)[:, place], 0)
        patterns, factors = similarity.factors()
        if factors.size > 1:
            factors = factors[patterns[rows]][:, columns]
        return cls(similarity, rows, columns, scores[:, columns], kth, factors)

    def candidates(self, gaps: Mapping[str, Floats]) -> float:
        """How many candidates a row has, about.

        Args:
            gaps: by modality, (t, c) by how much the upper bounds exceed the cosines.
        """
        beta = self.similarity.beta
        excess = sum(beta[name] * (gaps[name] + ROUNDED) for name in self.similarity.weighted)
        hits = self.scores + self.factors * excess >= self.kth[:, None]
        nodes = self.similarity.neighbours.shape[0]
        return float(hits.sum(axis=1).mean()) * nodes / len(self.columns)


def reduced(
    vectors: Mapping[str, Modality], wanted: Mapping[str, tuple[Similarity, int]]
) -> dict[str, NDArray[np.float32]]:
    """The vectors for the first pass, by modality: (n, r + 1), or those given where that is faster.

    Args:
        vectors: by modality.
        wanted: by name, the graphs to make of them and their k.
    """
    widths = {name: modality.units.shape[1] for name, modality in vectors.items()}
    nodes = len(next(iter(vectors.values())).units)
    given = {name: modality.units for name, modality in vectors.items()}
    if nodes**2 * sum(widths.values()) <= WORTH:
        return given
    directions = {name: _directions(units) for name, units in given.items()}
    trials = [Trial.of(similarity, k) for similarity, k in wanted.values()]
    at = trials[0].rows, trials[0].columns
    cosines = {name: _products(units, at) for name, units in given.items()}
    nothing = np.zeros((len(at[0]), len(at[1])))
    most = max(widths.values())
    costs = {most: _cost(trials, widths, widths, dict.fromkeys(given, nothing))}
    for size in SIZES:
        kept = {name: min(size + 1, width) for name, width in widths.items()}
        gaps = {
            name: _bounds(units, directions[name][:, :size], at) - cosines[name]
            if kept[name] < widths[name]
            else nothing
            for name, units in given.items()
        }
        costs[size] = _cost(trials, kept, widths, gaps)
    best = min(costs, key=lambda size: costs[size])
    LOG.info(
        "graphs of %d nodes: first pass in %s of %s directions",
        *(nodes, best, max(widths.values())),
    )
    return {
        name: upper(units, directions[name][:, :best]) if best + 1 < widths[name] else units
        for name, units in given.items()
    }


def upper(units: NDArray[np.float32], directions: Floats) -> NDArray[np.float32]:
    """(n, r + 1) vectors (c, s) whose products are at least those of the (n, d) vectors.

    Args:
        units: (n, d).
        directions: (d, r), orthonormal.
    """
    found = np.empty((len(units), directions.shape[1] + 1), dtype=np.float32)
    for start in range(0, len(units), TILE):
        block = units[start : start + TILE].astype(np.float64)
        inside = block @ directions
        rest = np.square(block).sum(axis=1) - np.square(inside).sum(axis=1)
        found[start : start + TILE, :-1] = inside
        found[start : start + TILE, -1] = np.sqrt(np.maximum(rest, 0) + SLACK)
    return found


def side_by_side(
    arrays: Mapping[str, NDArray[np.float32]], beta: Mapping[str, float]
) -> NDArray[np.float32]:
    """(n, sum of r) vectors of length 1 at most; times the sum of betas, their products are sum_m
    beta_m cos, or its upper bounds.
    """
    total = sum(beta.values())
    weighted = [arrays[name] * np.float32((beta[name] / total) ** 0.5) for name in beta]
    return np.concatenate(weighted, axis=1)


def _cost(
    trials: list[Trial],
    kept: Mapping[str, int],
    widths: Mapping[str, int],
    gaps: Mapping[str, Floats],
) -> float:
    """Multiplications of a row: of the first pass, and those that exact candidates are worth."""
    nodes = trials[0].similarity.neighbours.shape[0]
    exact = sum(
        trial.candidates(gaps) * sum(widths[name] for name in trial.similarity.weighted)
        for trial in trials
    )
    return nodes * sum(kept.values()) + EXACT * exact


def _bounds(units: NDArray[np.float32], directions: Floats, at: Pairs) -> Floats:
    """(t, c) upper bounds of some cosines."""
    rows, columns = (upper(units[nodes], directions).astype(np.float64) for nodes in at)
    found: Floats = rows @ columns.T
    return found


def _products(units: NDArray[np.float32], at: Pairs) -> Floats:
    """(t, c) products of some rows with others."""
    rows, columns = (units[nodes].astype(np.float64) for nodes in at)
    found: Floats = rows @ columns.T
    return found


def _directions(units: NDArray[np.float32]) -> Floats:
    """(d, r) orthonormal directions, those with the largest variance first; r: the largest size.

    By subspace iteration from random directions, over some of the vectors. They need not be exact.
    """
    some = torch.from_numpy(units[_evenly(len(units), FITTED)])
    size = min(SIZES[-1], *some.shape)
    start = torch.Generator().manual_seed(0)
    found = torch.randn(some.shape[1], size, generator=start)
    for _ in range(2):
        found = torch.linalg.qr(some.T @ (some @ found))[0]
    inside = (some @ found).double()
    turned = torch.linalg.eigh(inside.T @ inside)[1].flip(1)  # the largest variance first
    exact: Floats = torch.linalg.qr(found.double() @ turned)[0].numpy()
    return exact


def _evenly(nodes: int, count: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, nodes - 1, min(count, nodes)).astype(np.intp))
