"""Linear propagation over fixed graphs, shared by every model that uses it."""

from typing import Any

import torch
from torch import Tensor

from brmrs.graphs.bipartite import inverse_root_degree
from brmrs.graphs.sparse import SparseMatrix, multiply, wide


def lightgcn(matrix: SparseMatrix, users: Tensor, items: Tensor, layers: int) -> tuple[Tensor, ...]:
    """E = 1/(L+1) sum_l (D^-1/2 A D^-1/2)^l E^(0) (He 2020).

    Args:
        matrix: (U, I) block D^-1/2 R D^-1/2 of the normalised adjacency.
        users: (U, d) layer 0; d may hold several channels side by side.
        items: (I, d) layer 0.
        layers: L.

    Returns:
        (U, d) and (I, d), the means over the layers.
    """
    result: tuple[Tensor, ...] = _MeanOfLayers.apply(matrix, layers, wide(users), wide(items))
    return result


class _MeanOfLayers(torch.autograd.Function):
    """The mean of the layers, a symmetric linear map: forward and backward are the same."""

    @staticmethod
    def forward(
        ctx: Any, matrix: SparseMatrix, layers: int, users: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.matrix, ctx.layers = matrix, layers
        return _mean_of_layers(matrix, layers, users, items)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor, Tensor]:
        return None, None, *_mean_of_layers(ctx.matrix, ctx.layers, *gradients)


def _mean_of_layers(
    matrix: SparseMatrix, layers: int, users: Tensor, items: Tensor
) -> tuple[Tensor, Tensor]:
    p, q = users, items
    for _ in range(layers):  # Horner's scheme: E + A (E + A (E + ...))
        p, q = multiply(matrix.csr, q, users), multiply(matrix.transposed, p, items)
    return (p.div_(layers + 1), q.div_(layers + 1)) if layers else (p, q)


def mean_of_powers(graph: SparseMatrix, users: Tensor, items: Tensor, layers: int) -> list[Tensor]:
    """E = 1/(L+1) sum_l G^l E^(0) over a graph G of users and items.

    Args:
        graph: (U + I, U + I), users first (`brmrs.graphs.augmented`).
        users: (U, d) layer 0; d may hold several channels side by side.
        items: (I, d) layer 0.
        layers: L.

    Returns:
        (U, d) and (I, d), the means over the layers.
    """
    nodes = torch.cat([wide(users), wide(items)])
    mean: Tensor = _MeanOfPowers.apply(graph, layers, nodes)
    return list(torch.split(mean, [len(users), len(items)]))


class _MeanOfPowers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: SparseMatrix, layers: int, nodes: Tensor) -> Tensor:
        ctx.graph, ctx.layers = graph, layers
        return _mean_of_powers(graph.csr, layers, nodes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _mean_of_powers(ctx.graph.transposed, ctx.layers, gradients[0])


def _mean_of_powers(csr: Tensor, layers: int, nodes: Tensor) -> Tensor:
    mean = nodes
    for _ in range(layers):  # Horner's scheme, as above
        mean = multiply(csr, mean, nodes)
    return mean / (layers + 1)


def drop_edges(
    users: Tensor, items: Tensor, shape: tuple[int, int], rate: float, generator: torch.Generator
) -> SparseMatrix:
    """The normalised graph of `sampled_edges`, with the degrees of the sample."""
    users, items = sampled_edges(users, items, shape, rate, generator)
    values = inverse_root_degree(users, shape[0]) * inverse_root_degree(items, shape[1])
    return SparseMatrix.from_edges(users, items, values, shape)


def sampled_edges(
    users: Tensor, items: Tensor, shape: tuple[int, int], rate: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A sample of the interactions, degree-sensitive (FREEDOM, Zhou 2023).

    Draws round((1 - rate) N) edges without replacement, with probability proportional to 1 /
    sqrt(d_u d_i). So edges of rare nodes are kept more often.

    Args:
        users: (N,) int64, sorted with `items` by (user, item).
        items: (N,) int64.
        shape: (U, I).
        rate: share of the edges to leave out.
        generator: on the device of `users`.
    """
    weights = inverse_root_degree(users, shape[0]) * inverse_root_degree(items, shape[1])
    # The k smallest of Exp(1) / w are a weighted sample without replacement, of any size.
    keys = torch.empty_like(weights).exponential_(generator=generator) / weights
    count = max(1, round((1 - rate) * len(users)))
    kept = keys.topk(count, largest=False).indices.sort().values
    return users[kept], items[kept]
