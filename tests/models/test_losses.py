"""Every loss against a slow, literal transcription of its formula: values and gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from brmrs.models import losses

B, N = 6, 5  # pairs, candidates

Rows = list[list[float]]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def draw(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def mask(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def difference_quotients(function: Callable[[list[Tensor]], float], inputs: list[Tensor]) -> Rows:
    """The gradient of a function of floats by central differences, entry by entry."""
    step = 1e-6
    result = []
    for index, tensor in enumerate(inputs):
        slopes = []
        for position in range(tensor.numel()):
            ends = []
            for sign in (step, -step):
                moved = [x.clone() for x in inputs]
                moved[index].view(-1)[position] += sign
                ends.append(function(moved))
            slopes.append((ends[0] - ends[1]) / (2 * step))
        result.append(slopes)
    return result


def check(
    loss: Callable[..., Tensor],
    literal: Callable[[list[Tensor]], float],
    inputs: list[Tensor],
) -> None:
    """The loss and its gradient equal the literal transcription's."""
    variables = [x.clone().requires_grad_() for x in inputs]
    value = loss(*variables)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(literal(inputs), abs=1e-12)
    for variable, slopes in zip(variables, difference_quotients(literal, inputs), strict=True):
        gradient = torch.zeros_like(variable) if variable.grad is None else variable.grad
        assert gradient.view(-1).tolist() == pytest.approx(slopes, abs=1e-7)


def test_bpr() -> None:
    def literal(inputs: list[Tensor]) -> float:
        positive, negative = (x.tolist() for x in inputs)
        return -sum(log_sigmoid(positive[b] - negative[b]) for b in range(B)) / B

    check(losses.bpr, literal, [draw(B, seed=0), draw(B, seed=1)])


def test_bpr_of_the_pairs_that_are_kept() -> None:
    positive, negative = torch.tensor([1.0, 5.0, 0.0]), torch.tensor([0.0, 0.0, 2.0])
    kept = torch.tensor([True, False, True])
    expected = -(log_sigmoid(1.0) + log_sigmoid(-2.0)) / 2
    assert losses.bpr(positive, negative, kept).item() == pytest.approx(expected)
    assert losses.bpr(positive, negative, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_bpr_with_several_negatives() -> None:
    def literal(inputs: list[Tensor]) -> float:
        positive, negative = (x.tolist() for x in inputs)
        terms = [log_sigmoid(positive[b] - negative[b][n]) for b in range(B) for n in range(N)]
        return -sum(terms) / len(terms)

    check(losses.bpr, literal, [draw(B, seed=0), draw(B, N, seed=1)])


def test_l2() -> None:
    def literal(inputs: list[Tensor]) -> float:
        total: float = sum(v * v for x in inputs for v in x.view(-1).tolist())
        return total / (2 * B)

    check(losses.l2, literal, [draw(B, 3, seed=0), draw(B, N, 3, seed=1)])


def chns_literal(has_t: Tensor, has_v: Tensor) -> Callable[[list[Tensor]], float]:
    """L_chns^t + L_chns^v; column 0 of the masks is the positive."""

    def branch(positive: list[float], own: Rows, other: Rows, mine: Tensor, his: Tensor) -> float:
        terms = []
        for b in range(B):
            eligible = [n for n in range(N) if his[b, 1 + n]]
            if mine[b, 0] and eligible:
                hardest = max(eligible, key=lambda n: other[b][n])
                terms.append(-log_sigmoid(positive[b] - own[b][hardest]))
        return sum(terms) / max(len(terms), 1)

    def literal(inputs: list[Tensor]) -> float:
        positive_t, positive_v, pool_t, pool_v = (x.tolist() for x in inputs)
        return branch(positive_t, pool_t, pool_v, has_t, has_v) + branch(
            positive_v, pool_v, pool_t, has_v, has_t
        )

    return literal


def chns_inputs() -> list[Tensor]:
    return [draw(B, seed=0), draw(B, seed=1), draw(B, N, seed=2), draw(B, N, seed=3)]


def test_chns_where_nothing_is_missing() -> None:
    everything = torch.ones(B, 1 + N, dtype=torch.bool)
    check(losses.chns, chns_literal(everything, everything), chns_inputs())


@pytest.mark.parametrize("seed", range(5))
def test_chns_with_missing_modalities(seed: int) -> None:
    has_t, has_v = mask(B, 1 + N, seed=seed), mask(B, 1 + N, seed=seed + 100)
    has_v[2, 1:] = False  # nobody in the pool has a picture

    def loss(positive_t: Tensor, positive_v: Tensor, pool_t: Tensor, pool_v: Tensor) -> Tensor:
        return losses.chns(positive_t, positive_v, pool_t, pool_v, has_t, has_v)

    check(loss, chns_literal(has_t, has_v), chns_inputs())


def test_chns_masks_that_hide_nothing_change_nothing() -> None:
    everything = torch.ones(B, 1 + N, dtype=torch.bool)
    a, b, c, d = chns_inputs()
    assert torch.isclose(losses.chns(a, b, c, d, everything, everything), losses.chns(a, b, c, d))


def test_chns_of_nothing_is_zero_with_zero_gradient() -> None:
    nothing = torch.zeros(B, 1 + N, dtype=torch.bool)
    inputs = a, b, c, d = [x.requires_grad_() for x in chns_inputs()]
    loss = losses.chns(a, b, c, d, nothing, nothing)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert all(x.grad is not None and not x.grad.any() for x in inputs)


def test_chns_swaps_the_branches() -> None:
    # text finds candidate 0 hard, the picture candidate 1: text learns on 1, the picture on 0
    pool_t = torch.tensor([[3.0, 1.0]], requires_grad=True)
    pool_v = torch.tensor([[0.0, 2.0]], requires_grad=True)
    losses.chns(torch.zeros(1), torch.zeros(1), pool_t, pool_v).backward()  # type: ignore[no-untyped-call]
    assert pool_t.grad is not None
    assert pool_v.grad is not None
    assert (pool_t.grad != 0).tolist() == [[False, True]]
    assert (pool_v.grad != 0).tolist() == [[True, False]]


SAMPLERS: list[tuple[losses.Sampler, list[int], list[int]]] = [
    # text finds candidate 2 hard, the picture candidate 1; what text and the picture learn on
    ("cross-modal", [1], [2]),
    ("own-modality", [2], [1]),
    ("uniform", [0], [0]),
]


@pytest.mark.parametrize(("sampler", "text", "visual"), SAMPLERS)
def test_chns_and_the_samplers_to_compare_with(
    sampler: losses.Sampler, text: list[int], visual: list[int]
) -> None:
    pool_t = torch.tensor([[0.5, 1.0, 3.0]], requires_grad=True)
    pool_v = torch.tensor([[0.25, 2.0, -1.0]], requires_grad=True)
    positive = torch.ones(1)
    loss = losses.chns(positive, positive, pool_t, pool_v, sampler=sampler)
    margins = 1 - pool_t[0, text].item(), 1 - pool_v[0, visual].item()
    assert loss.item() == pytest.approx(-sum(map(log_sigmoid, margins)))
    loss.backward()  # type: ignore[no-untyped-call]
    for pool, learned in ((pool_t, text), (pool_v, visual)):
        assert pool.grad is not None
        assert pool.grad[0].nonzero().flatten().tolist() == learned


@pytest.mark.parametrize("sampler", ["cross-modal", "own-modality", "uniform"])
def test_samplers_pass_over_candidates_without_the_judging_modality(
    sampler: losses.Sampler,
) -> None:
    """Nobody in the pool has a picture, so none is hard for it, nor a negative of its branch."""
    everything, nothing = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[True, False, False]])
    zero, pool = torch.zeros(1), torch.zeros(1, 2)
    loss = losses.chns(zero, zero, pool, pool, everything, nothing, sampler=sampler)
    assert loss.item() == pytest.approx(math.log(2))  # one branch of the two has a pair left


@pytest.mark.parametrize("theta", [0.0, 0.7])
@pytest.mark.parametrize("detach", [False, True])
def test_synergy(theta: float, detach: bool) -> None:
    inputs = [draw(B, seed=0), draw(B, seed=1), draw(B, seed=2)]
    references = [x.tolist() for x in inputs[1:]]

    def literal(values: list[Tensor]) -> float:
        delta_f, delta_t, delta_v = (x.tolist() for x in values)
        if detach:  # a stopped gradient: the reference does not move with its inputs
            delta_t, delta_v = references
        return (
            -sum(log_sigmoid(delta_f[b] - max(delta_t[b], delta_v[b]) - theta) for b in range(B))
            / B
        )

    check(lambda f, t, v: losses.synergy(f, t, v, theta, detach=detach), literal, inputs)


@pytest.mark.parametrize("masked", [False, True])
def test_negative_cosine(masked: bool) -> None:
    kept = mask(B, seed=9) if masked else None
    target = draw(B, N, seed=1)

    def literal(inputs: list[Tensor]) -> float:
        rows = [b for b in range(B) if kept is None or kept[b]]
        total = 0.0
        for b in rows:
            x, y = inputs[0][b].tolist(), target[b].tolist()
            norms = math.hypot(*x) * math.hypot(*y)
            total -= sum(v * w for v, w in zip(x, y, strict=True)) / norms
        return total / max(len(rows), 1)

    check(lambda x: losses.negative_cosine(x, target, kept), literal, [draw(B, N, seed=0)])


def test_negative_cosine_stops_the_gradient_into_the_target() -> None:
    online, target = draw(B, N, seed=0).requires_grad_(), draw(B, N, seed=1).requires_grad_()
    losses.negative_cosine(online, target).backward()  # type: ignore[no-untyped-call]
    assert online.grad is not None
    assert target.grad is None


def test_extreme_margins_stay_finite() -> None:
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = losses.bpr(far, -far) + losses.synergy(far, -far, -far, 1.0, detach=True)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()


def test_info_nce_and_its_gradient() -> None:
    """Against torch's cross-entropy of the cosines."""
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    logits = cosine_similarity(x.unsqueeze(1), y.unsqueeze(0), dim=2) / 0.2
    expected = cross_entropy(logits, torch.arange(7))
    found = losses.info_nce(x, y, 0.2)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(2 * loss, (x, y)) for loss in (found, expected))
    torch.testing.assert_close(*gradients)


def test_info_nce_of_a_zero_row_is_finite() -> None:
    x = torch.zeros(3, 2, requires_grad=True)
    loss = losses.info_nce(x, torch.eye(3, 2), 0.02)
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.item() == pytest.approx(math.log(3))
    assert gradient.isfinite().all()
