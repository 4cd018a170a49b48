"""The k nearest of each row in two passes: candidates in low precision, then exact arithmetic.

With e' the similarity from the first pass and e' >= e - E for all pairs:

1. The smallest exact e of the k best by e' is tau, a lower bound of the k-th largest e.
2. Each j with e_ij >= tau has e'_ij >= tau - E. These are the candidates, ties included.
3. The exact e of the candidates decides, with the rule for ties of `top_k.largest`.

So the edges are those of exact arithmetic over all pairs. A row with too many candidates (many
equal rows, for instance) is left to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.graphs.first_pass import ROUND_FLOAT, Block
from brmrs.graphs.similarity import Modality, Similarity
from brmrs.graphs.top_k import largest

LANES = 64  # columns that share a maximum; the best are looked for in the best lanes only
MOST = 128  # candidates of a row that are always taken; more from MOST_SHARE of the columns on
MOST_SHARE = 1 / 32
BYTES_PER_PAIR = 12  # of a block: the cosines of two modalities, and room to spare
AT_ONCE = 2**21  # scores of the rows that are searched at once: 8 MB stay in a processor's cache

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """The edges of some rows.

    Attributes:
        rows: (E,) increasing.
        columns: (E,) increasing within a row.
        weights: (E,) float64.
        left: rows with too many candidates, whose edges are missing.
    """

    rows: Ints
    columns: Ints
    weights: NDArray[np.float64]
    left: Ints


@dataclass(frozen=True)
class Part:
    """A part of sum_m beta_m cos of some rows, from the first pass.

    Attributes:
        weight: of its products in the sum.
        block: of one modality, or of all that count, side by side.
    """

    weight: float
    block: Block


def usable(similarity: Similarity) -> bool:
    """Whether the first pass can serve: the cosines are those of vectors, and they count."""
    modalities = similarity.modalities.values()
    return not similarity.sparse and all(isinstance(m, Modality) for m in modalities)


def search(
    similarity: Similarity,
    parts: Sequence[Part],
    k: int,
    start: int,
) -> Found:
    """The k nearest of each row of a block.

    Args:
        similarity: of n nodes.
        parts: of the rows from `start` on.
        k: edges of a row, at most.
        start: first row of the block.
    """
    rows, nodes = parts[0].block.products.shape
    overlaps = None
    if similarity.alpha > 0:
        overlaps = similarity.overlaps(slice(start, start + rows))
        overlaps.sort_indices()
    scores = _approximate(similarity, parts, overlaps, start)
    errors = _errors(similarity, parts)
    maxima = scores.amax(dim=1)
    seeds = _seeds(scores, maxima, k)
    tau, known = np.full(rows, -np.inf), (np.empty(0, np.int64), np.empty(0))
    if k < nodes:
        block = np.repeat(np.arange(rows), k)
        exact = similarity.pairs(start + block, seeds.ravel(), overlaps, block)
        tau = exact.reshape(rows, k).min(axis=1)
        known = block * nodes + seeds.ravel(), exact
    # Edges have weights above 0. The bound is rounded down, as float64 becomes float32.
    bound = np.nextafter((np.maximum(tau, 0) - errors).astype(np.float32), np.float32(-np.inf))
    most = max(MOST + k, int(MOST_SHARE * nodes))
    block, columns, left = _above(scores, maxima, torch.from_numpy(bound), most)
    values, rest = _looked_up(block * nodes + columns, *known)
    # Most candidates are left out by float32, which is faster than exact arithmetic.
    near = similarity.pairs(start + block[rest], columns[rest], overlaps, block[rest], np.float32)
    rest = rest[near >= np.maximum(tau, 0)[block[rest]] - _error_of_pairs(similarity)]
    values[rest] = similarity.pairs(start + block[rest], columns[rest], overlaps, block[rest])
    kept = np.flatnonzero(values > 0)
    chosen = kept[largest(block[kept], values[kept], k)]
    return Found(start + block[chosen], columns[chosen], values[chosen], start + left)


def _looked_up(keys: Ints, known: Ints, values: NDArray[np.float64]) -> tuple[Any, Ints]:
    """The values of those (E,) keys that are known, else 0, and the places of the others."""
    found, rest = np.zeros(len(keys)), np.arange(len(keys))
    if len(known):
        order = np.argsort(known)
        place = np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)
        hit = known[order[place]] == keys
        found[hit], rest = values[order[place[hit]]], np.flatnonzero(~hit)
    return found, rest


def _approximate(
    similarity: Similarity,
    parts: Sequence[Part],
    overlaps: sp.csr_matrix | None,
    start: int,
) -> Tensor:
    """(b, LANES, C) e' of column c + C lane, -inf past the last column and for the row itself."""
    rows, nodes = parts[0].block.products.shape
    lanes = torch.empty(rows, LANES * -(-nodes // LANES))
    lanes[:, nodes:] = -torch.inf
    scores = lanes[:, :nodes]
    for number, part in enumerate(parts):
        products = part.block.products.float()
        if number == 0:
            torch.mul(products, part.weight, out=scores)
        else:
            scores.add_(products, alpha=part.weight)
    patterns, factors = similarity.factors()
    if factors.size > 1 or factors[0, 0] != 1:
        of_rows = torch.from_numpy(patterns[start : start + rows])
        scores.mul_(torch.from_numpy(factors.astype(np.float32))[of_rows])
    if overlaps is not None:
        ends = np.repeat(np.arange(rows), np.diff(overlaps.indptr))
        places = torch.from_numpy(ends), torch.from_numpy(overlaps.indices.astype(np.int64))
        added = torch.from_numpy((similarity.alpha * overlaps.data).astype(np.float32))
        scores.index_put_(places, added, accumulate=True)
    own = torch.arange(rows)
    scores[own, start + own] = -torch.inf
    return lanes.view(rows, LANES, -1)


def _errors(similarity: Similarity, parts: Sequence[Part]) -> NDArray[np.float64]:
    """(b,) E: of the cosines, and of the sums in float32.

    The weights beta' of a pair's cosines sum to `total`. Where the modalities are side by side, the
    error is that of the whole sum, and a pair that lacks a modality multiplies it, too.
    """
    total = sum(similarity.beta.values()) * (1 - similarity.alpha)
    if len(parts) < len(similarity.weighted):
        total = max(total, float(similarity.factors()[1].max()) * parts[0].weight)
    sums = 16 * ROUND_FLOAT * (2 * total + similarity.alpha)
    largest: NDArray[np.float32] = torch.stack([p.block.errors for p in parts]).amax(0).numpy()
    return total * largest.astype(np.float64) + sums


def _error_of_pairs(similarity: Similarity) -> float:
    """The largest error of e from cosines in float32 (see `FirstPass`)."""
    vectors = [each for each in similarity.modalities.values() if isinstance(each, Modality)]
    width = max(int(each.units.shape[1]) for each in vectors)
    total = sum(similarity.beta.values()) * (1 - similarity.alpha)
    return 1.02 * (width + 2) * ROUND_FLOAT * total + 16 * ROUND_FLOAT


def _seeds(scores: Tensor, maxima: Tensor, k: int) -> Ints:
    """(b, min(k, 64 C)) columns with the largest e'. They are in the lanes with the largest maxima.

    A column may be past the last one, or the row's own, if there are no more than k others.
    """
    lanes = scores.shape[2]
    best = maxima.topk(min(k, lanes), dim=1).indices
    inside = scores.gather(2, best.unsqueeze(1).expand(-1, LANES, -1))
    place = inside.flatten(1).topk(min(k, inside[0].numel()), dim=1).indices
    lane = best.gather(1, place % best.shape[1])
    found: Ints = (torch.div(place, best.shape[1], rounding_mode="floor") * lanes + lane).numpy()
    return found


def _above(
    scores: Tensor, maxima: Tensor, bound: Tensor, most: int
) -> tuple[Ints, Ints, NDArray[np.intp]]:
    """All (row of the block, column) with e' at or above the row's bound, sorted.

    Also the rows that have more than `most`, which are left out.
    """
    hit = maxima >= bound.unsqueeze(1)
    crowded = hit.sum(dim=1) > most
    hit[crowded] = False
    of_lane, lane = hit.nonzero().unbind(1)
    inside = scores[of_lane, :, lane]  # (H, LANES)
    which, place = (inside >= bound[of_lane].unsqueeze(1)).nonzero().unbind(1)
    rows, columns = of_lane[which].numpy(), (place * scores.shape[2] + lane[which]).numpy()
    left = crowded.numpy() | (np.bincount(rows, minlength=len(scores)) > most)
    kept = np.flatnonzero(~left[rows])
    order = kept[np.lexsort((columns[kept], rows[kept]))]
    return rows[order], columns[order], np.flatnonzero(left)
