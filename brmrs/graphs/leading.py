"""Vectors in a few leading directions, so that the first pass needs fewer multiplications.

With orthonormal directions Q (d, r), c = Q'x and s = |x - Q c|,

    x y  =  c_x c_y + (x - Q c_x) (y - Q c_y)  <=  c_x c_y + s_x s_y          (Cauchy-Schwarz)

So products of the r + 1 numbers (c, s) are upper bounds of the cosines, and (c, s) is as long as x.
The search by candidates needs no more than upper bounds: the edges do not depend on Q. Few
directions leave more candidates, whose similarity costs more, so their number is chosen by a trial
on some rows. Vectors of real texts and pictures, and means of them, need few; random vectors all.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brmrs.graphs.similarity import Modality, Similarity

LOG = logging.getLogger(__name__)
WIDTHS = (256, 512, 1024, 2048)  # numbers of a vector of the first pass that are tried
WORTH = 5e12  # multiplications of all pairs; below, the trial and the directions cost too much
# What takes as long as a multiplication of the first pass, measured (bfloat16, AMX):
LEAST = 350  # numbers of a vector; fewer are not faster
EXACT = 90  # multiplications for each number of a candidate
TURNED = 8  # and for each multiplication by a direction, in float64
ROWS, COLUMNS, FITTED = 32, 4096, 4096  # nodes of the trial; nodes that the directions are made of
OTHERS = 12  # numbers of a modality beside those of its directions: s and errors (`FirstPass`)
ROUNDED = 0.003  # error of a cosine by bfloat16, about; only for the trial
TILE = 4096  # rows converted to float64 at once; bounds memory
SLACK = 1e-11  # larger than the error of s^2, which comes from sums of d products in float64

Floats = NDArray[np.float64]
Directions = dict[str, Floats]  # by modality, (d, r), orthonormal


@dataclass(frozen=True)
class Trial:
    """The exact similarity of some rows of a graph, to count its candidates.

    Attributes:
        similarity: of n nodes.
        rows: (t,) nodes.
        columns: (c,) nodes.
        scores: (t, c) their exact e.
        kth: (t,) the k-th largest e of each row among all nodes, at least 0.
        factors: (t, c) what turns sum_m beta_m cos of the pairs into the second term of e.
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
        factors = factors[patterns[rows]][:, patterns[columns]]
        return cls(similarity, rows, columns, scores[:, columns], kth, factors)

    def candidates(self, directions: Directions) -> float:
        """How many candidates a row has with a first pass in some directions, about."""
        excess = np.full_like(self.scores, ROUNDED)
        for name, of in directions.items():
            units = units_of(self.similarity, name)
            rows, columns = units[self.rows], units[self.columns]
            bounds = upper(rows, of).astype(np.float64) @ upper(columns, of).astype(np.float64).T
            gaps = bounds - rows.astype(np.float64) @ columns.astype(np.float64).T
            excess += self.similarity.beta[name] * gaps
        hits = (self.scores + self.factors * excess >= self.kth[:, None]) & (self.scores > -np.inf)
        nodes = self.similarity.neighbours.shape[0]
        return float(hits.sum(axis=1).mean()) * nodes / len(self.columns)


def chosen(similarity: Similarity, k: int, description: str) -> Directions:
    """The directions of the first pass; none for the modalities that take all their own numbers.

    Args:
        similarity: of n nodes.
        k: edges of a row.
        description: of the graph, for the log.
    """
    nodes = similarity.neighbours.shape[0]
    widths = {name: units_of(similarity, name).shape[1] for name in similarity.weighted}
    if nodes**2 * sum(widths.values()) <= WORTH:
        return {}
    fitted = {name: _fitted(units_of(similarity, name)) for name in widths}
    trial = Trial.of(similarity, k)
    tried: list[tuple[float, int, float, Directions]] = []
    for width in (*(each for each in WIDTHS if each < sum(widths.values())), None):
        directions = _first(fitted, similarity, width) if width else {}
        numbers = sum(
            directions[name].shape[1] + 1 if name in directions else widths[name] for name in widths
        )
        left = trial.candidates(directions)
        cost = nodes * max(LEAST, numbers) + EXACT * left * sum(widths.values())
        cost += TURNED * sum(each.size for each in directions.values())
        tried.append((cost, numbers, left, directions))
    _, numbers, left, directions = min(tried, key=lambda each: each[0])
    LOG.info(
        "%s: first pass with %d of %d numbers for each of %d nodes; about %.0f candidates each",
        *(description, numbers, sum(widths.values()), nodes, left),
    )
    return directions


def upper(units: NDArray[np.float32], directions: Floats) -> NDArray[np.float32]:
    """(n, r + 1) vectors (c, s) whose products are at least those of the (n, d) vectors.

    Args:
        units: (n, d); rows of zeros stay zeros.
        directions: (d, r), orthonormal.
    """
    found = np.empty((len(units), directions.shape[1] + 1), dtype=np.float32)
    for start in range(0, len(units), TILE):
        block = units[start : start + TILE].astype(np.float64)
        inside = block @ directions
        whole = np.square(block).sum(axis=1)
        rest = np.maximum(whole - np.square(inside).sum(axis=1), 0) + SLACK
        found[start : start + TILE, :-1] = inside
        found[start : start + TILE, -1] = np.where(whole > 0, np.sqrt(rest), 0)
    return found


def units_of(similarity: Similarity, name: str) -> NDArray[np.float32]:
    """(n, d) unit vectors of a modality."""
    modality = similarity.modalities[name]
    assert isinstance(modality, Modality)  # as `candidates.usable` says
    return modality.units


def _first(
    fitted: dict[str, tuple[Floats, Floats]], similarity: Similarity, width: int
) -> Directions:
    """Those with the largest variances, weighted by beta, so that the vectors have `width` numbers.

    Modalities that keep nearly all of their directions are left out: they take their own numbers.
    """
    variances = {name: similarity.beta[name] * spread for name, (_, spread) in fitted.items()}
    size = width - OTHERS * len(fitted)
    everything = np.sort(np.concatenate(list(variances.values())))[::-1]
    least = everything[max(min(size, len(everything)), 1) - 1]
    found = {}
    for name, (directions, _) in fitted.items():
        kept = max(1, int((variances[name] >= least).sum()))
        if kept + 1 < len(directions):
            found[name] = directions[:, :kept]
    return found


def _fitted(units: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """(d, r) orthonormal directions and their (r,) variances, the largest first.

    By subspace iteration from random directions, over some of the vectors. They need not be exact.
    """
    some = torch.from_numpy(units[_evenly(len(units), FITTED)])
    size = min(WIDTHS[-1], *some.shape)
    start = torch.Generator().manual_seed(0)
    found = torch.randn(some.shape[1], size, generator=start)
    for _ in range(2):
        found = torch.linalg.qr(some.T @ (some @ found))[0]
    inside = (some @ found).double()
    spread, turned = torch.linalg.eigh(inside.T @ inside)
    exact: Floats = torch.linalg.qr(found.double() @ turned.flip(1))[0].numpy()
    variances: Floats = spread.flip(0).numpy() / len(some)
    return exact, variances


def _evenly(nodes: int, count: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, nodes - 1, min(count, nodes)).astype(np.intp))
