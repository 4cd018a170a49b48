"""Six users, five items: data small enough to write every equation of a paper out by hand."""

from collections.abc import Mapping

import scipy.sparse as sp
import torch
from torch import Tensor, nn

from brmrs.columns import TEXT, VISUAL
from brmrs.graphs import bipartite
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models.base import Batch, Recommender, TrainingData

USERS, ITEMS = 6, 5
# Neither user 5 nor item 4 has any.
EDGES = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (3, 0), (3, 2), (3, 3), (4, 3)]
TRIPLES = Batch(
    torch.tensor([0, 1, 3, 3, 4]),
    torch.tensor([0, 1, 2, 3, 3]),
    torch.tensor([[2, 3, 4], [3, 4, 0], [4, 1, 3], [1, 4, 2], [0, 2, 1]]),
)
# The cosines of each item with its two nearest; item 4 has no picture.
TEXT_COSINES = [[0, 0.9, 0.5, 0, 0], [0.9, 0, 0, 0.4, 0], [0.5, 0, 0, 0, 0.8], [0, 0.4, 0.3, 0, 0]]
TEXT_COSINES += [[0, 0, 0.8, 0.2, 0]]
VISUAL_COSINES = [[0, 0, 0.6, 0.7, 0], [0.1, 0, 0.3, 0, 0], [0.6, 0.3, 0, 0, 0]]
VISUAL_COSINES += [[0.7, 0.2, 0, 0, 0], [0, 0, 0, 0, 0]]
COSINES: Mapping[str, list[list[float]]] = {TEXT: TEXT_COSINES, VISUAL: VISUAL_COSINES}


def data() -> TrainingData:
    """Features in double precision; graphs are of float32, so compare to about 1e-6."""
    generator = torch.Generator().manual_seed(0)
    features = {
        m: torch.randn(ITEMS, width, generator=generator, dtype=torch.float64)
        for m, width in ((TEXT, 3), (VISUAL, 4))
    }
    present = {m: torch.ones(ITEMS, dtype=torch.bool) for m in features}
    present[VISUAL][4] = False
    features[VISUAL][4] = 0
    users, items = torch.tensor(EDGES).T.contiguous()
    return TrainingData(
        users=USERS,
        items=ITEMS,
        train_users=users,
        train_items=items,
        user_item=bipartite.normalised(users, items, USERS, ITEMS),
        features=features,
        present=present,
        categories=torch.tensor([0, 1, 1, 2, 0]),
        modality_graphs={
            m: SparseMatrix.from_scipy(sp.csr_matrix(rows)) for m, rows in COSINES.items()
        },
    )


def batch(negatives: int) -> Batch:
    """The triples with so many negatives, at most 3."""
    return Batch(TRIPLES.users, TRIPLES.positives, TRIPLES.negatives[:, :negatives])


def in_double(model: Recommender) -> None:
    """Parameters to double precision, and away from 0, where a sigmoid would hide an error."""
    model.double()
    with torch.no_grad():
        for n, (_, parameter) in enumerate(sorted(model.named_parameters())):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))
            parameter.copy_(noise.double() / 2)


def adjacency(edges: list[tuple[int, int]] = EDGES) -> Tensor:
    """(U + I, U + I) of the bipartite graph, users first."""
    a = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.float64)
    for u, i in edges:
        a[u, USERS + i] = a[USERS + i, u] = 1
    return a


def symmetrically_normalised(a: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 entry by entry, D of the row sums."""
    degrees = a.sum(dim=1)
    result = torch.zeros_like(a)
    for i in range(len(a)):
        for j in range(len(a)):
            if a[i, j] != 0 and degrees[j] > 0:
                result[i, j] = a[i, j] / (degrees[i] ** 0.5 * degrees[j] ** 0.5)
    return result


def mean_of_layers(graph: Tensor, e: Tensor, layers: int) -> Tensor:
    """1 / (L + 1) sum_l graph^l e."""
    powers = [torch.linalg.matrix_power(graph, layer) @ e for layer in range(layers + 1)]
    return torch.stack(powers).sum(dim=0) / (layers + 1)


def minus_log_sigma(x: Tensor) -> Tensor:
    """-log sigma(x) as written."""
    return -torch.log(1 / (1 + torch.exp(-x)))


def score(p: Tensor, q: Tensor, u: int, i: int) -> Tensor:
    """s(u, i) = <p_u, q_i>."""
    return torch.stack([a * b for a, b in zip(p[u], q[i], strict=True)]).sum()


def literal_bpr(p: Tensor, q: Tensor) -> Tensor:
    """Mean over the triples of -log sigma(s(u, i) - s(u, j)), j the first negative."""
    return torch.stack(
        [minus_log_sigma(score(p, q, u, i) - score(p, q, u, j)) for u, i, j in triples()]
    ).mean()


def literal_l2(users: list[Tensor], items: list[Tensor]) -> Tensor:
    """Mean over the triples of half the squared norms of their rows."""
    terms = []
    for u, i, j in triples():
        rows = [table[u] for table in users] + [table[n] for table in items for n in (i, j)]
        terms.append(torch.stack([row.square().sum() / 2 for row in rows]).sum())
    return torch.stack(terms).mean()


def triples() -> list[tuple[int, int, int]]:
    """User, positive, first negative."""
    columns = TRIPLES.users, TRIPLES.positives, TRIPLES.negatives[:, 0]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def unit(x: Tensor) -> Tensor:
    """A vector to length 1; zero stays zero."""
    return x / x.norm() if x.any() else x


def leaky(x: Tensor) -> Tensor:
    """LeakyReLU with slope 0.01."""
    return torch.where(x > 0, x, 0.01 * x)


def affine(layer: nn.Module, x: Tensor) -> Tensor:
    """W x + b."""
    assert isinstance(layer, nn.Linear)
    return layer.weight @ x + layer.bias


def neighbours(node: int) -> list[int]:
    """Of a user (0..U-1) or an item (U..U+I-1) in the training graph."""
    return adjacency()[node].nonzero().flatten().tolist()


def assert_equal_with_gradients(
    model: Recommender, terms: Mapping[str, Tensor], literal: Mapping[str, Tensor]
) -> None:
    """Each term and its gradient by every parameter, as the literal transcription has them."""
    assert set(terms) == set(literal)
    names, parameters = zip(*model.named_parameters(), strict=True)
    for term, value in terms.items():
        torch.testing.assert_close(value, literal[term], atol=1e-6, rtol=1e-6, msg=term)
        gradients = (
            torch.autograd.grad(total, parameters, retain_graph=True, materialize_grads=True)
            for total in (value, literal[term])
        )
        for name, mine, expected in zip(names, *gradients, strict=True):
            assert torch.allclose(mine, expected, atol=1e-6, rtol=1e-5), (term, name)
