"""An approximate index of the items of an inner-product branch, for large numbers of items.

faiss's IVF: the items in cells around centroids, of which the nearest `nprobe` are searched. The
smallest `nprobe` is taken whose recall against the exact ranking is high enough. Found items have
their exact scores, so the only errors are items that are missed.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brmrs.evaluation.ranking import top_k
from brmrs.models.base import Branch, Scorer
from brmrs.service.limits import EXACT_ITEMS, LEAST_RECALL

LOG = logging.getLogger(__name__)
DEPTH = 100  # ranks over which recall is measured
USERS = 200  # over which recall is measured
PER_CELL = 64  # items to train with, for each cell


@dataclass(frozen=True)
class Index:
    """The items of one branch.

    Attributes:
        cells: faiss's index.
        p: (U, d) users.
        recall: of the exact first `DEPTH` ranks, mean over `USERS` users.
    """

    cells: Any
    p: Tensor
    recall: float

    def best(self, user: int, k: int, left_out: Tensor) -> tuple[list[int], list[float]]:
        """The K best items of a user with their scores; equal scores by increasing item.

        Args:
            user: dense id.
            k: K; fewer are returned where the searched cells hold fewer.
            left_out: (n,) items that are not ranked.
        """
        scores, items = self.cells.search(self.p[user : user + 1].numpy(), k + len(left_out))
        kept = (items[0] >= 0) & ~np.isin(items[0], left_out.numpy())
        found, values = items[0][kept], scores[0][kept]
        order = np.lexsort((found, -values))[:k]
        return found[order].tolist(), values[order].tolist()


def build(name: str, scorer: Scorer) -> Index | None:
    """The index of a branch; None if exact ranking is better.

    That is so for few items, for a scorer that is no inner product, and if the recall would need
    a search of more than a quarter of the cells.
    """
    if type(scorer) is not Branch or len(scorer.q) <= EXACT_ITEMS:
        return None
    try:
        import faiss
    except ImportError:
        LOG.warning("ranking is exact and slow; pip install 'brmrs[serve]' brings faiss")
        return None
    p, q = scorer.p.float().contiguous(), scorer.q.float().contiguous()
    n_items, dim = q.shape
    cells = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dim), dim, int(4 * n_items**0.5), faiss.METRIC_INNER_PRODUCT
    )
    cells.cp.min_points_per_centroid = 1
    cells.cp.max_points_per_centroid = PER_CELL
    cells.train(q.numpy())
    cells.add(q.numpy())
    faiss.omp_set_num_threads(1)  # requests run beside each other
    users = torch.linspace(0, len(p) - 1, min(USERS, len(p))).long()
    exact = top_k(scorer, users, min(DEPTH, n_items))[0].numpy()
    cells.nprobe = 1
    while (recall := _recall(cells, p[users].numpy(), exact)) < LEAST_RECALL:
        cells.nprobe *= 2
        if cells.nprobe > cells.nlist // 4:
            LOG.info("branch %s: no approximate index is good enough; ranking is exact", name)
            return None
    LOG.info(
        "branch %s: approximate index, %d of %d cells are searched, recall@%d %.4f",
        *(name, cells.nprobe, cells.nlist, exact.shape[1], recall),
    )
    return Index(cells, p, recall)


def _recall(cells: Any, p: np.ndarray, exact: np.ndarray) -> float:
    found = cells.search(p, exact.shape[1])[1]
    hits = [np.isin(one, other).mean() for one, other in zip(exact, found, strict=True)]
    return float(np.mean(hits))
