"""Training losses: pure functions on scores and representations, each a mean over the batch.

Notation of method/000: B batch, n candidates, s scores, Delta preference margins, f fused,
t text, v visual. The document sums over the observed pairs; a mean over a uniform batch is that
sum up to a constant, and keeps the weights independent of the batch size.
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from brmrs.graphs.sparse import wide
from brmrs.graphs.unit_rows import unit_rows

Sampler = Literal["cross-modal", "own-modality", "uniform"]


def bpr(positive: Tensor, negative: Tensor, kept: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking (Rendle 2009): mean of -log sigma(s(u,i+) - s(u,i-)).

    Args:
        positive: (B,) scores of the positives.
        negative: (B,) or (B, n) scores of the negatives.
        kept: (B,) bool, pairs that count, if there is one negative each; None: all.
    """
    if negative.dim() > positive.dim():
        positive = positive.unsqueeze(-1)
    terms = -logsigmoid(positive - negative)
    return terms.mean() if kept is None else mean_of(terms, kept)


def mean_of(terms: Tensor, kept: Tensor) -> Tensor:
    """Mean of the (B,) terms that are kept, (B,) bool; 0 where none is."""
    return terms.where(kept, 0).sum() / kept.sum().clamp(min=1)


def l2(*rows: Tensor) -> Tensor:
    """Half the squared norm of the given rows per batch element: sum |x|^2 / (2 B).

    The field's regulariser (LightGCN): the embeddings that the batch looked up, not the tables.

    Args:
        rows: tensors of B rows each, (B, ...).
    """
    total = sum((row.square().sum() for row in rows), start=rows[0].new_zeros(()))
    return total / (2 * rows[0].shape[0])


def l2_of_all(parameters: Iterable[Tensor]) -> Tensor:
    """Half the squared norm of dense parameters, which every element of the batch uses once."""
    return torch.stack([each.square().sum() for each in parameters] or [torch.zeros(())]).sum() / 2


def chns(
    positive_t: Tensor,
    positive_v: Tensor,
    pool_t: Tensor,
    pool_v: Tensor,
    has_t: Tensor | None = None,
    has_v: Tensor | None = None,
    *,
    sampler: Sampler = "cross-modal",
) -> Tensor:
    """Cross-modal hard negative sampling (method/000, L_chns = L_chns^v + L_chns^t).

    i_v = argmax_{j in N(u)} s_v(u,j) and i_t = argmax_{j in N(u)} s_t(u,j) are chosen without
    gradient and swapped: the negative is i_v for the text branch and i_t for the visual branch:

        -log sigma(s_t(u,i+) - s_t(u,i_v)) - log sigma(s_v(u,i+) - s_v(u,i_t))

    Missing modalities: a candidate without a picture cannot be i_v, and a positive without text
    gives no term of the text branch; likewise with the modalities exchanged. A branch's mean is
    taken over the remaining pairs.

    Two samplers for comparison: "own-modality" does not swap, so each branch gets its own hardest
    negative. "uniform" takes the first candidate for both branches, independent of the scores.

    Args:
        positive_t: (B,) s_t(u, i+).
        positive_v: (B,) s_v(u, i+).
        pool_t: (B, n) s_t of the candidates N(u).
        pool_v: (B, n) s_v of the same candidates.
        has_t: (B, 1 + n) bool, whether the positive and the candidates have text; None: all do.
        has_v: (B, 1 + n) bool, whether they have a picture; None: all do.
        sampler: the choice of the negatives, see above.
    """
    if sampler == "uniform":
        pool_t, pool_v = pool_t[:, :1], pool_v[:, :1]
        has_t, has_v = (has if has is None else has[:, :2] for has in (has_t, has_v))
    judge_t, judge_v = (pool_v, has_v), (pool_t, has_t)
    if sampler != "cross-modal":
        judge_t, judge_v = judge_v, judge_t
    loss_t = _against_hardest(positive_t, pool_t, has_t, *judge_t)
    loss_v = _against_hardest(positive_v, pool_v, has_v, *judge_v)
    return loss_t + loss_v


def _against_hardest(
    positive: Tensor,
    own: Tensor,
    has_own: Tensor | None,
    judge: Tensor,
    has_judge: Tensor | None,
) -> Tensor:
    """-log sigma(s(u,i+) - s(u,j)) of one branch, j the hardest for the judge."""
    judge = judge.detach()
    if has_judge is not None:
        judge = judge.masked_fill(~has_judge[:, 1:], -torch.inf)
    hardest = judge.argmax(dim=1, keepdim=True)
    losses = -logsigmoid(positive - own.gather(1, hardest).squeeze(1))
    if has_own is None and has_judge is None:
        return losses.mean()
    kept = torch.ones_like(losses, dtype=torch.bool)
    if has_own is not None:
        kept &= has_own[:, 0]
    if has_judge is not None:
        kept &= has_judge[:, 1:].any(dim=1)
    return mean_of(losses, kept)


def synergy(
    delta_f: Tensor,
    delta_t: Tensor,
    delta_v: Tensor,
    theta: float,
    has_t: Tensor | None = None,
    has_v: Tensor | None = None,
    *,
    detach: bool,
) -> Tensor:
    """Synergy-aware BPR (method/000, L_syn): -log sigma(Delta_f - max(Delta_t, Delta_v) - theta).

    Missing modalities: a modality that one of the two items lacks has no margin and does not enter
    the maximum. A pair without a common modality is left out of the mean.

    Args:
        delta_f: (B,) preference margin s_f(u,i+) - s_f(u,i-) of the fused branch.
        delta_t: (B,) of the text branch.
        delta_v: (B,) of the visual branch.
        theta: margin, at least 0.
        has_t: (B,) bool, whether both items have text; None: all do.
        has_v: (B,) bool, whether both have a picture; None: all do.
        detach: take the better unimodal margin as a reference, without gradient.
    """
    kept = torch.ones_like(delta_f, dtype=torch.bool)
    if has_t is not None or has_v is not None:
        has_t, has_v = (kept if has is None else has for has in (has_t, has_v))
        kept = has_t | has_v
        delta_t, delta_v = (
            delta.masked_fill(~has & kept, -torch.inf)
            for delta, has in ((delta_t, has_t), (delta_v, has_v))
        )
    reference = torch.maximum(delta_t, delta_v)
    if detach:
        reference = reference.detach()
    return mean_of(-logsigmoid(delta_f - reference - theta), kept)


def negative_cosine(online: Tensor, target: Tensor, kept: Tensor | None = None) -> Tensor:
    """C(h, h') = -h . h' / (|h| |h'|) (method/003), no gradient into the target: mean over B.

    Args:
        online: (B, d) predicted representations.
        target: (B, d) representations to agree with.
        kept: (B,) bool, rows that count; None: all.
    """
    unit, aim = (unit_rows(x) for x in (online, target.detach()))
    return negative_product(unit, aim, kept)


def negative_product(online: Tensor, target: Tensor, kept: Tensor | None = None) -> Tensor:
    """`negative_cosine` of unit vectors; over further leading dimensions the means add up.

    Args:
        online: (..., B, d).
        target: (..., B, d), broadcast to `online`.
        kept: (..., B) bool, rows that count; None: all.
    """
    cosines = (online * target).sum(dim=-1)
    if kept is None:
        return -cosines.mean(dim=-1).sum()
    return -(cosines.where(kept, 0).sum(dim=-1) / kept.sum(dim=-1).clamp(min=1)).sum()


def info_nce(view: Tensor, other: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord 2018) of cosines: mean over b of -log softmax_c(cos(x_b, y_c) / tau)_b.

    Args:
        view: (B, d), x.
        other: (B, d), y; row b is the positive of x_b, all other rows are its negatives.
        temperature: tau, at least 0.02, because exponentials are not shifted.
    """
    loss: Tensor = _InfoNCE.apply(unit_rows(view), unit_rows(other), temperature)
    return loss


class _InfoNCE(torch.autograd.Function):
    """One (B, B) matrix instead of the five that the operations one by one would write.

    With e_bc = exp(<x_b, y_c> / tau) and s_b its row sums, and g the gradient of the mean:

        dL/dx = (e y / s - y) g / (B tau),  dL/dy = (e^T (x / s) - x) g / (B tau)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, temperature: float) -> Tensor:
        e = wide((x / temperature) @ y.T).exp_()
        sums = e.sum(dim=1, keepdim=True)
        ctx.save_for_backward(x, y, e, sums)
        ctx.temperature = temperature
        ctx.in_bf16 = torch.is_autocast_enabled(x.device.type)  # off again in the backward pass
        return (sums.squeeze(1).log() - (x * y).sum(dim=1) / temperature).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y, e, sums = ctx.saved_tensors
        factor = gradients[0] / (len(x) * ctx.temperature)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=ctx.in_bf16):
            of_x, of_y = e @ y, e.T @ (x / sums)
        return (of_x / sums - y) * factor, (of_y - x) * factor, None
