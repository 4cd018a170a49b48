"""Products with a gradient into the weights of the edges, against dense algebra."""

import torch
from torch import Tensor

from brmrs.graphs.learned import Edges

ROWS, COLUMNS = torch.tensor([0, 0, 2, 2, 3]), torch.tensor([1, 2, 0, 1, 2])
EDGES = Edges(ROWS, COLUMNS, (4, 3))  # row 1 has no edge


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def dense(values: Tensor) -> Tensor:
    return torch.zeros(4, 3, dtype=torch.float64).index_put((ROWS, COLUMNS), values)


def compare(mine: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(mine, expected)
    upstream = random(*mine.shape, seed=9).detach()
    gradients = (torch.autograd.grad((out * upstream).sum(), inputs) for out in (mine, expected))
    for found, right in zip(*gradients, strict=True):
        torch.testing.assert_close(found, right)


def test_products() -> None:
    values, x, y = random(5, seed=0), random(3, 2, seed=1), random(4, 2, seed=2)
    compare(EDGES.product(values, x), dense(values) @ x, [values, x])
    compare(EDGES.transposed_product(values, y), dense(values).T @ y, [values, y])


def test_affinity() -> None:
    x, y = random(4, 2, seed=0), random(3, 2, seed=1)
    compare(EDGES.affinity(x, y), (x @ y.T)[ROWS, COLUMNS], [x, y])


def test_softmax_over_the_edges_that_take_part() -> None:
    values, part = random(5, seed=0), torch.tensor([True, True, True, False, False])
    none = torch.zeros(2, dtype=torch.float64)  # row 3 and what is left of column 1
    row_0 = values[:2].softmax(0)
    one = torch.ones(1, dtype=torch.float64)
    compare(EDGES.softmax(values, part), torch.cat([row_0, one, none]), [values])
    alone = torch.cat([one, one, one, none]) + 0 * values
    compare(EDGES.softmax(values, part, by_column=True), alone, [values])


def test_softmax_over_columns() -> None:
    values, every = random(5, seed=0), torch.ones(5, dtype=torch.bool)
    first, second = values[[0, 3]].softmax(0), values[[1, 4]].softmax(0)
    one = torch.ones(1, dtype=torch.float64)
    right = torch.stack([first[0], second[0], one[0], first[1], second[1]])
    compare(EDGES.softmax(values, every, by_column=True), right, [values])


def test_values_of_the_ends() -> None:
    of_rows, of_columns = random(4, seed=0), random(3, seed=1)
    compare(EDGES.of_rows(of_rows), of_rows[ROWS], [of_rows])
    compare(EDGES.of_columns(of_columns), of_columns[COLUMNS], [of_columns])


def test_weights_without_a_gradient_cost_none() -> None:
    values, x = random(5, seed=0).detach(), random(3, 2, seed=1)
    EDGES.product(values, x).sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is None
    assert x.grad is not None
    torch.testing.assert_close(x.grad, dense(values).T @ torch.ones(4, 2).double())
