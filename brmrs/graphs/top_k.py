"""The K largest of each row of a matrix, dense or sparse, with a stable rule for ties."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LANE = 64  # columns that share a maximum


def best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The min(K, I) best of (B, I) scores; equal scores by increasing item.

    `torch.topk` returns any of the items that tie for the last place. So K + 1 items are requested;
    where the last two tie, the lowest of the tied items are chosen.

    Returns:
        (B, min(K, I)) scores and int64 items.
    """
    n_items = scores.shape[1]
    values, items = _any_best(scores, min(k + 1, n_items))
    if n_items > k:
        last, beyond = values[:, k - 1], values[:, k]
        tied = ((last == beyond) & (last > -torch.inf)).nonzero().squeeze(1)
        values, items = values[:, :k], items[:, :k]
        if len(tied):
            items[tied] = _fill_ties(scores[tied], values[tied], items[tied])
    items, order = items.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, items.gather(1, order)


def _any_best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of (B, I) scores; any of those that tie for the last place.

    On the CPU a maximum is much faster than `topk`. At most k - 1 lanes hold a score above the k-th
    best, so the k lanes with the largest maxima hold k best scores.
    """
    lanes = scores.shape[1] // LANE
    if lanes < 4 * k or scores.is_cuda:
        return scores.topk(k)
    whole = scores[:, : LANE * lanes].view(len(scores), lanes, LANE)
    rest = scores[:, LANE * lanes :]
    of_lane = whole.amax(dim=2).topk(k).indices
    rows = torch.arange(len(scores), device=scores.device).unsqueeze(1)
    values, place = torch.cat([whole[rows, of_lane].flatten(1), rest], dim=1).topk(k)
    inside = LANE * of_lane.gather(1, (place // LANE).clamp(max=k - 1)) + place % LANE
    return values, torch.where(place < LANE * k, inside, place + LANE * (lanes - k))


def _fill_ties(scores: Tensor, values: Tensor, items: Tensor) -> Tensor:
    """Replace the items that tie for the last place by the lowest of the tied items.

    Args:
        scores: (B, I).
        values: (B, K) the best scores, decreasing.
        items: (B, K) items with these scores, any of the tied ones.
    """
    n_items, k = scores.shape[1], values.shape[1]
    device = scores.device
    last = values[:, -1:]
    earliness = torch.arange(n_items, 0, -1, device=device, dtype=torch.int32)
    lowest = torch.where(scores == last, earliness, 0).topk(k).indices
    place = torch.arange(k, device=device)
    certain = (values > last).sum(dim=1, keepdim=True)
    return torch.where(place < certain, items, lowest.gather(1, (place - certain).clamp(min=0)))


def largest(rows: NDArray[np.integer], scores: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Positions of the k largest of the (E,) scores of each row, increasing; the first of a tie.

    Args:
        rows: (E,) increasing.
        scores: (E,).
        k: entries kept per row, at most.
    """
    order = np.lexsort((-scores, rows))  # stable
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return np.sort(order[place < k])
