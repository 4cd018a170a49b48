"""The order of the first pass's columns.

Nodes with the same modalities follow each other, so that one factor turns the products of a row
with all of them into similarities. Each such group is filled up with empty columns to whole lanes
of `LANE` columns, which share a maximum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brmrs.graphs.similarity import Similarity

LANE = 64

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lanes:
    """The columns of n nodes.

    Attributes:
        nodes: (N,) the node of each column, increasing within a group; n: an empty column.
        columns: (n,) the column of each node.
        patterns: (n,) the pattern of modalities that each node has.
        of_lanes: (N / LANE,) the pattern of each lane's nodes.
        factors: (P, P) what turns sum_m beta_m cos of two patterns into the second term of e.
    """

    nodes: Ints
    columns: Ints
    patterns: Ints
    of_lanes: Ints
    factors: Floats

    @classmethod
    def of(cls, similarity: Similarity) -> "Lanes":
        """Order the nodes of a similarity."""
        patterns, factors = similarity.factors()
        size = len(patterns)
        order = np.argsort(patterns, kind="stable")
        counts = np.bincount(patterns, minlength=len(factors))
        lanes = -(-counts // LANE)
        shifts = LANE * (np.cumsum(lanes) - lanes) - (np.cumsum(counts) - counts)
        columns = np.empty(size, dtype=np.int64)
        columns[order] = np.arange(size) + shifts[patterns[order]]
        nodes = np.full(LANE * int(lanes.sum()), size, dtype=np.int64)
        nodes[columns] = np.arange(size)
        return cls(nodes, columns, patterns, np.repeat(np.arange(len(factors)), lanes), factors)

    def apart(self, patterns: Ints) -> list[tuple[NDArray[np.intp], slice]]:
        """The pairs without a common modality: some rows of a block with some columns each time.

        Args:
            patterns: (b,) of the block's nodes.
        """
        found = []
        for own, others in np.argwhere(self.factors == 0):
            first, last = np.searchsorted(self.of_lanes, [others, others + 1])
            found.append((np.flatnonzero(patterns == own), slice(LANE * first, LANE * last)))
        return found
