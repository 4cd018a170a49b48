"""Rows of a graph with a few random neighbours each: the cost follows the rows, not the graph."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from brmrs.graphs.sparse import SparseMatrix

# A uniform integer below 2^62 modulo a degree of at most 2^31 is uniform to 2^-31.
_WIDE = 2**62


class Edges(NamedTuple):
    """Edges of some rows.

    Attributes:
        rows: (M,) int64, places among the rows, increasing.
        columns: (M,) int64 nodes, increasing within a row, none twice.
        values: (M,) float32.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor


@dataclass(frozen=True)
class NodeGraph:
    """A graph over users 0..U-1 and items U..U+I-1, held as CSR tensors that others own.

    Attributes:
        users: U.
        of_users: CSR with a row per user; None: users have no neighbours.
        of_items: CSR with a row per item; None: items have no neighbours.
        bipartite: the columns of `of_users` are items and those of `of_items` users; otherwise the
            columns are nodes of the row's own kind.
    """

    users: int
    of_users: Tensor | None
    of_items: Tensor | None
    bipartite: bool

    @classmethod
    def user_item(cls, matrix: SparseMatrix) -> "NodeGraph":
        """The bipartite graph of a (U, I) matrix."""
        return cls(matrix.shape[0], matrix.csr, matrix.transposed, bipartite=True)

    def sample(self, nodes: Tensor, size: int, generator: torch.Generator) -> Edges:
        """At most `size` neighbours of each node, see `sample_rows`.

        Args:
            nodes: (n,) int64, increasing.
            size: f.
            generator: on the device of the nodes.
        """
        cut = int(torch.searchsorted(nodes, self.users))
        users, items = nodes[:cut], nodes[cut:] - self.users
        shifts = (self.users, 0) if self.bipartite else (0, self.users)
        parts = [
            sample_rows(csr, rows, size, generator)
            for csr, rows in ((self.of_users, users), (self.of_items, items))
        ]
        return Edges(
            torch.cat([parts[0].rows, parts[1].rows + cut]),
            torch.cat([part.columns + shift for part, shift in zip(parts, shifts, strict=True)]),
            torch.cat([part.values for part in parts]),
        )


def sample_rows(csr: Tensor | None, rows: Tensor, size: int, generator: torch.Generator) -> Edges:
    """At most f entries of each row, drawn uniformly without replacement.

    The values of a row with more than f entries are multiplied by degree / f, so that the product
    with any matrix has the expectation of the whole row's.

    Args:
        csr: (n, m) matrix; None: without entries.
        rows: (B,) int64, in any order.
        size: f.
        generator: on the device of the rows.
    """
    if csr is None:
        return Edges(rows[:0], rows[:0], torch.empty(0, device=rows.device))
    ends = csr.crow_indices()
    starts = ends[rows].long()
    degrees = ends[rows + 1].long() - starts
    counts = degrees.clamp(max=size)
    owners = torch.arange(len(rows), device=rows.device).repeat_interleave(counts)
    places = torch.arange(len(owners), device=rows.device) - (counts.cumsum(0) - counts)[owners]
    large = degrees > size
    places[large[owners]] = _distinct(degrees[large], size, generator).flatten()
    places += starts[owners]
    scale = degrees.float() / counts.clamp(min=1)
    values = csr.values()[places] * scale[owners]
    return Edges(owners, csr.col_indices()[places].long(), values)


def _distinct(counts: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """(n, size) distinct integers below each of (n,) counts > size, uniform, increasing in a row.

    Floyd's algorithm (Bentley, Floyd 1987), whose cost does not depend on the counts: draw k is
    uniform up to `counts - size + k`, and replaced by that bound if an earlier draw has its value.
    """
    draws = torch.randint(_WIDE, (size, len(counts)), generator=generator, device=counts.device)
    chosen = torch.empty_like(draws)
    for k, draw in enumerate(draws):
        bound = counts - size + k
        draw = draw % (bound + 1)
        taken = (chosen[:k] == draw).any(dim=0)
        chosen[k] = torch.where(taken, bound, draw)
    return chosen.T.sort(dim=1).values


class Numbered(NamedTuple):
    """Nodes with repetitions, numbered by their distinct values.

    Attributes:
        distinct: (m,) int64, increasing.
        places: (M,) int64, the place of each node in `distinct`.
        order: (M,) int64, sorts the nodes; equal ones keep their order.
    """

    distinct: Tensor
    places: Tensor
    order: Tensor


def numbered(nodes: Tensor) -> Numbered:
    """Number (M,) nodes below 2^31, with one sort."""
    order = torch.argsort(nodes.int(), stable=True)  # int32 takes half of int64's time
    distinct, counts = torch.unique_consecutive(nodes[order], return_counts=True)
    places = torch.empty_like(nodes)
    places[order] = torch.arange(len(distinct), device=nodes.device).repeat_interleave(counts)
    return Numbered(distinct, places, order)
