"""The k nearest of each row in two passes: candidates in low precision, then exact arithmetic.

The first pass has an upper bound of e for each pair (see `first_pass`).

1. The k-th largest e of some pairs with large bounds is tau, a lower bound of the k-th largest e.
2. Each j with e_ij >= tau has a bound at or above tau. These are the candidates, ties included.
3. Cosines in float32 leave those that can be among the k largest; their exact e decides, with the
   rule for ties of `top_k.largest`.

So the edges are those of exact arithmetic over all pairs. A row with too many candidates (many
equal rows, for instance) is left to that.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.graphs.first_pass import ROUND_FLOAT, FirstPass
from brmrs.graphs.lanes import LANE
from brmrs.graphs.similarity import Modality, Similarity
from brmrs.graphs.top_k import largest

SEEDS = 4  # pairs that tau is taken from, for each edge
MOST = 128  # candidates of a row that are always taken; more from MOST_SHARE of the columns on
MOST_SHARE = 1 / 32
SHARE = 32  # of the nodes, one is compared at first
BYTES_PER_PAIR = 4  # of a block: a product
AT_ONCE = 2**23  # pairs that are searched at once; bounds the memory of their overlaps

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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
    weights: Floats
    left: Ints


def usable(similarity: Similarity) -> bool:
    """Whether the first pass can serve: the cosines are those of vectors, and they count."""
    modalities = similarity.modalities.values()
    return not similarity.sparse and all(isinstance(m, Modality) for m in modalities)


def floors(similarity: Similarity, first_pass: FirstPass, k: int, start: int, stop: int) -> Floats:
    """(b,) lower bounds of the k-th largest e of the nodes from start to stop, and of 0.

    They are the k-th largest, without overlaps, of some pairs with one node in `SHARE`.
    """
    nodes, rows = np.arange(0, len(first_pass.lanes.columns), SHARE), np.arange(start, stop)
    if len(nodes) <= k:
        return np.zeros(len(rows))
    scales = torch.from_numpy(first_pass.scales.astype(np.float32))
    patterns = first_pass.lanes.patterns
    scaled = scales[patterns[rows]][:, patterns[nodes]]
    best = (first_pass.some(start, stop, nodes) * scaled).topk(k + 1).indices.numpy()
    block, columns = np.repeat(np.arange(len(rows)), k + 1), nodes[best.ravel()]
    near = similarity.pairs(rows[block], columns, None, block, np.float32)
    near[rows[block] == columns] = -np.inf
    kth = np.partition(near.reshape(len(rows), k + 1), 1, axis=1)[:, 1]
    found: Floats = np.maximum(kth - _Pairs(similarity, None, start).error, 0)
    return found


def block(
    similarity: Similarity, first_pass: FirstPass, k: int, room: Tensor, start: int
) -> list[Found]:
    """The k nearest of the rows of a block.

    Args:
        similarity: of n nodes.
        first_pass: of the same nodes.
        k: edges of a row, at most.
        room: (b, N) for the products; overwritten.
        start: the first row.
    """
    lowest = floors(similarity, first_pass, k, start, start + len(room))
    offsets = first_pass.offsets(start, lowest)
    products = first_pass.products(start, offsets, room)
    found, size = [], max(1, AT_ONCE // len(first_pass.lanes.columns))
    for first in range(0, len(room), size):
        rows = slice(first, first + size)
        part = products[rows], offsets[rows], lowest[rows]
        found.append(search(similarity, first_pass, k, *part, start + first))
    return found


def search(
    similarity: Similarity,
    first_pass: FirstPass,
    k: int,
    products: Tensor,
    offsets: Tensor,
    lowest: Floats,
    start: int,
) -> Found:
    """The k nearest of each of some rows.

    Args:
        similarity: of n nodes.
        first_pass: of the same nodes.
        k: edges of a row, at most.
        products: (b, N) overwritten.
        offsets: (b, P) what was taken from them.
        lowest: (b,) floors that the offsets were made of.
        start: the first row.
    """
    lanes, nodes = first_pass.lanes, len(similarity.neighbours.indptr) - 1
    scales = torch.from_numpy(first_pass.scales.astype(np.float32))
    of_rows = lanes.patterns[start : start + len(products)]
    overlaps = _with_overlaps(similarity, first_pass, products, start)
    pairs = _Pairs(similarity, overlaps, start)
    in_lanes = products.view(first_pass.kind).view(len(products), -1, LANE)
    maxima = in_lanes.amax(dim=2)
    scaled = scales[of_rows][:, lanes.of_lanes]
    taken = offsets.float()[:, lanes.of_lanes]
    block, places = _seeds(products, maxima, scaled, taken, SEEDS * k)
    columns = lanes.nodes[places]
    near = pairs.near(block, columns)
    tau = np.maximum(_kth(block, near, k, len(products)) - pairs.error, lowest)
    products[block, places] = 0  # they are known; each of the others that is large enough follows
    bits = first_pass.bits(tau[:, None] / first_pass.scales[of_rows] - offsets.double().numpy())
    most = max(MOST + k, int(MOST_SHARE * nodes))
    other, places, left = _above(in_lanes, maxima, bits[:, lanes.of_lanes], most)
    near = np.concatenate([near, pairs.near(other, lanes.nodes[places])])
    block = np.concatenate([block, other])
    columns = np.concatenate([columns, lanes.nodes[places]])
    kept = np.flatnonzero(~np.isin(block, left) & (near >= tau[block] - pairs.error))
    kept = kept[np.lexsort((columns[kept], block[kept]))]
    block, columns, values = pairs.best(block[kept], columns[kept], near[kept], k)
    return Found(start + block, columns, values, start + left)


@dataclass(frozen=True)
class _Pairs:
    """e of single pairs of a block.

    Attributes:
        similarity: of n nodes.
        overlaps: (b, n) of the block, sorted; None: they do not count.
        start: first row of the block.
    """

    similarity: Similarity
    overlaps: sp.csr_matrix | None
    start: int

    def near(self, block: Ints, columns: Ints) -> Floats:
        """(E,) e, with an error of at most `error`."""
        rows = self.start + block
        return self.similarity.pairs(rows, columns, self.overlaps, block, np.float32)

    @property
    def error(self) -> float:
        """That of cosines in float32 (see `FirstPass`)."""
        vectors = [m for m in self.similarity.modalities.values() if isinstance(m, Modality)]
        width = max(int(each.units.shape[1]) for each in vectors)
        total = sum(self.similarity.beta.values()) * (1 - self.similarity.alpha)
        return 1.02 * (width + 2) * ROUND_FLOAT * total + 16 * ROUND_FLOAT

    def best(self, block: Ints, columns: Ints, near: Floats, k: int) -> tuple[Ints, Ints, Floats]:
        """The rows, columns and exact e of the k largest of each row, above 0.

        Args:
            block: (E,) row of the block, increasing.
            columns: (E,) increasing within a row.
            near: (E,) their e from `near`.
            k: at least 1.
        """
        kth = _kth(block, near, k, int(block.max(initial=-1)) + 1)
        kept = np.flatnonzero(near >= kth[block] - 2 * self.error)
        block, columns = block[kept], columns[kept]
        values = self.similarity.pairs(self.start + block, columns, self.overlaps, block)
        kept = np.flatnonzero(values > 0)
        chosen = kept[largest(block[kept], values[kept], k)]
        return block[chosen], columns[chosen], values[chosen]


def _kth(block: Ints, values: Floats, k: int, rows: int) -> Floats:
    """(b,) the k-th largest value of each row; -inf if there are fewer."""
    chosen = largest(block, values, k)
    found = np.full(rows, np.inf)
    np.minimum.at(found, block[chosen], values[chosen])
    found[np.bincount(block[chosen], minlength=rows) < k] = -np.inf
    return found


def _with_overlaps(
    similarity: Similarity, first_pass: FirstPass, products: Tensor, start: int
) -> sp.csr_matrix | None:
    """Put the bounds of those pairs that have an overlap into the products, and 0 for each row with
    itself; return the (b, n) overlaps.
    """
    rows, lanes, overlaps = len(products), first_pass.lanes, None
    if similarity.alpha > 0:
        overlaps = similarity.overlaps(slice(start, start + rows))
        overlaps.sort_indices()
        counts = np.diff(overlaps.indptr)
        first = np.arange(rows) * products.shape[1]
        places = torch.from_numpy(np.repeat(first, counts) + lanes.columns[overlaps.indices])
        patterns = np.repeat(lanes.patterns[start : start + rows], counts)
        scales = first_pass.scales[patterns, lanes.patterns[overlaps.indices]]
        added = torch.from_numpy((similarity.alpha * overlaps.data / scales).astype(np.float32))
        flat = products.view(-1)
        found = flat[places].float()
        added += found
        added += found.abs_().mul_(first_pass.rounding + 8 * ROUND_FLOAT)
        flat[places] = added.to(products.dtype)
    products[torch.arange(rows), torch.from_numpy(lanes.columns[start : start + rows])] = 0
    return overlaps


def _seeds(
    products: Tensor, maxima: Tensor, scales: Tensor, taken: Tensor, count: int
) -> tuple[Ints, Ints]:
    """The rows and columns of at most `count` pairs of each row whose bounds are largest.

    Args:
        products: (b, N).
        maxima: (b, N / LANE) of the lanes, as integers.
        scales: (b, N / LANE) that turn products into bounds.
        taken: (b, N / LANE) offsets.
        count: of the lanes with the largest maxima, and of the pairs in them.
    """
    best = (
        ((maxima.view(products.dtype) + taken) * scales).topk(min(count, maxima.shape[1])).indices
    )
    inside = products.view(len(products), -1, LANE)[torch.arange(len(products)).unsqueeze(1), best]
    bounds = (inside + taken.gather(1, best).unsqueeze(2)) * scales.gather(1, best).unsqueeze(2)
    place = bounds.flatten(1).topk(min(count, bounds[0].numel())).indices
    block, which = (inside.flatten(1).gather(1, place) > 0).nonzero().unbind(1)
    place = place[block, which]
    columns = LANE * best[block, place // LANE] + place % LANE
    return block.numpy(), columns.numpy()


def _above(
    in_lanes: Tensor, maxima: Tensor, bits: Tensor, most: int
) -> tuple[Ints, Ints, NDArray[np.intp]]:
    """All (row of the block, column) at or above the row's bound, sorted.

    Also the rows that have more than `most`, which are left out.

    Args:
        in_lanes: (b, N / LANE, LANE) integers.
        maxima: (b, N / LANE) of the lanes.
        bits: (b, N / LANE) bounds.
        most: candidates of a row.
    """
    hit = maxima >= bits
    too_many = hit.sum(dim=1) > most
    hit[too_many] = False
    of_lane, lane = hit.nonzero().unbind(1)
    which, place = (in_lanes[of_lane, lane] >= bits[of_lane, lane].unsqueeze(1)).nonzero().unbind(1)
    rows, columns = of_lane[which].numpy(), (LANE * lane[which] + place).numpy()
    left = too_many.numpy() | (np.bincount(rows, minlength=len(maxima)) > most)
    kept = ~left[rows]
    return rows[kept], columns[kept], np.flatnonzero(left)
