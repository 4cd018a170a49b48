r"""What the lists of the first K items are like, beside their hits.

With the list L_u of each of B users, n_i training interactions of item i, of I items and U users:

    coverage@K    share of the I items that are in at least one list
    gini@K        Gini coefficient of how often each of the I items is recommended: 0 if all equally
                  often, (I - K) / I if every list is the same
    novelty@K     mean of -log2((n_i + 1) / (U + 1)) over the items of a list, in bits (Zhou et al.,
                  2010, with one added so that items without training interactions are finite)
    popularity@K  mean n_i of a list
    popularity_lift@K
                  mean n_i of the list / mean n_i of the user's training items, minus 1: how much
                  more popular than the user's own choices the list is (Abdollahpouri et al., 2019)
    text_diversity@K, visual_diversity@K
                  mean of 1 - cosine over the pairs of a list's items that have the modality
                  (Ziegler et al., 2005); lists with fewer than two such items are left out

Values are means over the users, except for coverage and gini, which are of all lists together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from brmrs.features import feature_table
from brmrs.graphs.user_items import UserItems
from brmrs.stages import FEATURE_TABLES

DEFINITIONS = {
    "coverage": "share of all items that are in the first K of at least one user",
    "gini": "Gini coefficient of how often each item is in a first K: 0 even, 1 concentrated",
    "novelty": "mean of -log2((training interactions of the item + 1) / (users + 1)), in bits",
    "popularity": "mean number of training interactions of the recommended items",
    "popularity_lift": "popularity of the list divided by that of the user's training items, "
    "minus 1",
    "text_diversity": "mean of 1 - cosine of the text features over the pairs of a list's items",
    "visual_diversity": "mean of 1 - cosine of the visual features over the pairs of a list's "
    "items",
}
USERS_PER_BLOCK = 1024


@dataclass(frozen=True)
class Features:
    """The features of one modality.

    Attributes:
        unit: (I, d) float32 of length 1; zero where not present.
        present: (I,) bool.
    """

    unit: Tensor
    present: Tensor

    @classmethod
    def of(cls, vectors: Tensor, present: Tensor) -> "Features":
        """From (I, d) vectors of any length, and (I,) bool."""
        return cls(normalize(vectors.float(), dim=1) * present.unsqueeze(1), present)


def read_features(inputs: Mapping[str, Path]) -> dict[str, Features]:
    """The features of each modality that the run has."""
    found = {}
    for modality, file in FEATURE_TABLES.items():
        if file in inputs:
            vectors, present = feature_table.read(inputs[file])
            found[modality] = Features.of(torch.from_numpy(vectors), torch.from_numpy(present))
    return found


def describe(
    lists: Tensor, users: Tensor, train: UserItems, diversities: Mapping[str, Tensor]
) -> dict[str, float | None]:
    """Every value of the module for one model's lists; None where no list has the value.

    Args:
        lists: (B, K) int64 items, -1 past the end of a short list.
        users: (B,) int64, whose lists they are.
        train: the training items.
        diversities: by modality, (B,) from `diversity`; the model need not have used it.
    """
    there = lists >= 0
    n_items = train.n_items
    popularity = torch.bincount(train.items, minlength=n_items).double()
    often = torch.bincount(lists[there], minlength=n_items)
    surprise = -torch.log2((popularity + 1) / (train.n_users + 1))
    of_lists = _mean_of(popularity[lists.clamp(min=0)], there)
    found = {
        "coverage": float((often > 0).double().mean()) if n_items else None,
        "gini": gini(often),
        "novelty": _mean(_mean_of(surprise[lists.clamp(min=0)], there)),
        "popularity": _mean(of_lists),
        "popularity_lift": _mean(of_lists / _of_histories(popularity, users, train) - 1),
    }
    for modality, each in diversities.items():
        found[f"{modality}_diversity"] = _mean(each)
    return found


def gini(counts: Tensor) -> float | None:
    """The Gini coefficient of (n,) counts >= 0; None if their sum is 0."""
    total, n = float(counts.sum()), len(counts)
    if total == 0:
        return None
    rank = torch.arange(1, n + 1, dtype=torch.float64)
    ordered = counts.sort().values.double()
    return float(((2 * rank - n - 1) * ordered).sum() / (n * total))


def diversity(lists: Tensor, features: Features) -> Tensor:
    """(B,) mean of 1 - cosine over the pairs of each list; NaN with fewer than two such items.

    The sum of the cosines of all pairs is (|sum of the unit vectors|^2 - n) / 2, so no pair is
    formed, and only the sums are held. Equal lists are computed once.
    """
    if not len(lists):
        return torch.empty(0, dtype=torch.float64)
    unit, squares = features.unit, torch.linalg.vecdot(features.unit, features.unit).double()
    distinct, place = torch.unique(lists, dim=0, return_inverse=True)
    values = []
    for block in torch.split(distinct, USERS_PER_BLOCK):
        items = block.clamp(min=0)
        has = (block >= 0) & features.present[items]
        sums = embedding_bag(items, unit, mode="sum", per_sample_weights=has.float())
        n = has.sum(dim=1).double()
        pairs = n * (n - 1)
        cosines = torch.linalg.vecdot(sums, sums).double() - (squares[items] * has).sum(dim=1)
        values.append(1 - cosines / torch.where(pairs > 0, pairs, torch.nan))
    return torch.cat(values)[place]


def _of_histories(popularity: Tensor, users: Tensor, train: UserItems) -> Tensor:
    """(B,) the mean popularity of each user's training items; NaN without any."""
    rows, items = train.of(users)
    total = torch.zeros(len(users), dtype=torch.float64).index_add_(0, rows, popularity[items])
    return total / torch.where(train.counts[users] > 0, train.counts[users], torch.nan)


def _mean_of(values: Tensor, there: Tensor) -> Tensor:
    """(B,) means over the entries that are there; NaN without any."""
    count = there.sum(dim=1).double()
    return (values * there).sum(dim=1) / torch.where(count > 0, count, torch.nan)


def _mean(values: Tensor) -> float | None:
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else None
