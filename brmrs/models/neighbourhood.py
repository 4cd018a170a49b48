"""Propagation from the sampled neighbours of a batch, whose cost does not grow with the graph.

Each layer draws its neighbours anew (`brmrs.graphs.sampled`), so the expectation of a propagated
row is the row of the whole graph. Scores are products of two such rows, and the loss is not linear
in them, so the loss and its gradient have another expectation than those of the whole graph. The
difference vanishes as the number of neighbours grows, and is zero if no node has more.

A step reads only the rows of the tables that it needs (`read`). Only these have a gradient, and
the optimiser changes no others (`brmrs.training.optimiser`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.graphs.sampled import NodeGraph, numbered
from brmrs.graphs.sparse import SparseMatrix, multiply, wide
from brmrs.models.base import Batch


@dataclass(frozen=True)
class Seeds:
    """The users and items of a batch, each once.

    Attributes:
        nodes: (n,) int64, increasing; item i is the node U + i.
        users: (B,) places of the batch's users in `nodes`.
        triples: (B, 1 + n) places of its positives and negatives.
    """

    nodes: Tensor
    users: Tensor
    triples: Tensor

    @classmethod
    def of(cls, batch: Batch, n_users: int) -> "Seeds":
        """Those of a batch; `n_users` is U."""
        triples = batch.triples
        found = numbered(torch.cat([batch.users, n_users + triples.flatten()]))
        users, items = torch.split(found.places, [len(batch.users), triples.numel()])
        return cls(found.distinct, users, items.view_as(triples))

    def rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From (n, d) the (B, d) rows of the users and the (B, 1 + n, d) rows of the triples."""
        return embedding(self.users, x), embedding(self.triples, x)


@dataclass(frozen=True)
class SampledMean:
    """E = 1/(L+1) sum_l A^l x of some nodes, each A a sample.

    Attributes:
        nodes: (m,) int64, increasing: those whose rows of x are read.
        places: for layer l = 0..L the places in `nodes` of those whose rows it adds; first the
            nodes that E is wanted for.
        matrices: for layer l = 0..L-1 its sample of A, from the nodes of layer l + 1.
    """

    nodes: Tensor
    places: Sequence[Tensor]
    matrices: Sequence[SparseMatrix]

    def own(self, x: Tensor) -> Tensor:
        """(n, d) the rows of x of the nodes that E is wanted for."""
        return embedding(self.places[0], x)

    def __call__(self, x: Tensor) -> Tensor:
        """From the (m, d) rows of `nodes`, E as (n, d)."""
        mean: Tensor = _Mean.apply(self, x)
        return mean


class _Mean(torch.autograd.Function):
    """Written by hand, as the sum of the layers' gradients is made in place."""

    @staticmethod
    def forward(ctx: Any, of: SampledMean, x: Tensor) -> Tensor:
        ctx.of, ctx.shape = of, x.shape
        mean = embedding(of.places[-1], x)
        for places, matrix in zip(of.places[-2::-1], of.matrices[::-1], strict=True):
            mean = multiply(matrix.csr, mean, embedding(places, x))
        return mean.div_(len(of.places))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        of = ctx.of
        gradient = gradients[0] / len(of.places)
        total = gradient.new_zeros(ctx.shape).index_add_(0, of.places[0], gradient)
        for places, matrix in zip(of.places[1:], of.matrices, strict=True):
            gradient = multiply(matrix.transposed, gradient)
            total.index_add_(0, places, gradient)
        return None, total


def sampled_mean(
    graph: NodeGraph, nodes: Tensor, sizes: Sequence[int], generator: torch.Generator
) -> SampledMean:
    """Draw the neighbours of L layers.

    Args:
        graph: A.
        nodes: (n,) int64, increasing: those that E is wanted for.
        sizes: the number of neighbours in each layer.
        generator: on the device of the nodes.
    """
    layers, matrices = [nodes], []
    for size in sizes:
        edges = graph.sample(layers[-1], size, generator)
        found = numbered(edges.columns)
        shape = len(layers[-1]), len(found.distinct)
        matrices.append(
            SparseMatrix.from_edges(edges.rows, found.places, edges.values, shape, found.order)
        )
        layers.append(found.distinct)
    found = numbered(torch.cat(layers))
    places = torch.split(found.places, [len(layer) for layer in layers])
    return SampledMean(found.distinct, places, matrices)


@dataclass(frozen=True)
class SampledSmoothing:
    """x <- x + G x in some layers, or x <- G x, each G a sample.

    Attributes:
        nodes: (m,) int64, increasing: those whose rows of x are read.
        places: by layer, the last first: the places of the nodes that it computes, in those that
            it reads.
        matrices: by layer, the last first: its sample of G.
        residual: whether a layer adds x.
    """

    nodes: Tensor
    places: Sequence[Tensor]
    matrices: Sequence[SparseMatrix]
    residual: bool

    def own(self, x: Tensor) -> Tensor:
        """(n, d) the rows of x of the nodes that are wanted."""
        for places in reversed(self.places):
            x = embedding(places, x)
        return x

    def __call__(self, x: Tensor) -> Tensor:
        """From the (m, d) rows of `nodes`, the (n, d) smoothed rows."""
        for places, matrix in zip(reversed(self.places), reversed(self.matrices), strict=True):
            x = embedding(places, x) + matrix @ x if self.residual else matrix @ x
        return x


def sampled_smoothing(
    graphs: Sequence[NodeGraph],
    nodes: Tensor,
    sizes: Sequence[int],
    generator: torch.Generator,
    *,
    residual: bool = True,
) -> SampledSmoothing:
    """Draw the neighbours of each layer.

    Args:
        graphs: G of each layer, the last layer first.
        nodes: (n,) int64, increasing: those that are wanted.
        sizes: the number of neighbours in each layer, the last layer first.
        generator: on the device of the nodes.
        residual: whether a layer adds x.
    """
    places, matrices = [], []
    for graph, size in zip(graphs, sizes, strict=True):
        edges = graph.sample(nodes, size, generator)
        found = numbered(torch.cat([edges.columns, nodes]))
        columns, own = torch.split(found.places, [len(edges.columns), len(nodes)])
        order = found.order[found.order < len(columns)]
        shape = len(nodes), len(found.distinct)
        matrices.append(SparseMatrix.from_edges(edges.rows, columns, edges.values, shape, order))
        places.append(own)
        nodes = found.distinct
    return SampledSmoothing(nodes, places, matrices, residual)


def sizes_of(sampled: Sequence[int], first: int, layers: int) -> list[int]:
    """The number of neighbours in layers `first` to `first + layers - 1`, counted from the batch.

    Args:
        sampled: `train.sampled_neighbours`; further layers use the last number.
        first: counted from 0.
        layers: how many.
    """
    return [sampled[min(layer, len(sampled) - 1)] for layer in range(first, first + layers)]


def read(table: Tensor, rows: Tensor) -> Tensor:
    """(n, d) rows of a trained table, whose gradient is sparse: of these rows only."""
    return wide(embedding(rows, table, sparse=True))


def split_nodes(nodes: Tensor, n_users: int) -> tuple[Tensor, Tensor]:
    """Increasing nodes as users 0..U-1 and items 0..I-1."""
    cut = int(torch.searchsorted(nodes, n_users))
    return nodes[:cut], nodes[cut:] - n_users
