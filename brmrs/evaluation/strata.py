"""Recall@K in strata: groups of held-out pairs (u, i), by user, by item and by time.

A stratum holds some of the held-out pairs. For each user with pairs in it, Recall@K is the share of
these that are in the first K items; the value of the stratum is the mean over such users, with a
95 % bootstrap interval over them. Lists are those of the whole evaluation: all items are ranked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs import columns
from brmrs.evaluation.metrics import evaluated
from brmrs.evaluation.paired import interval
from brmrs.graphs.user_items import UserItems

HEAD = 0.2  # share of the items that are trained on which are the head
GROUPS = 3  # of users, by the length of their history
QUARTERS = 4  # of the held-out pairs, by time
COLD, TAIL, HEAD_NAME = "cold", "tail", "head"

DEFINITIONS = {
    "item popularity": f"{COLD}: items without training interactions; {HEAD_NAME}: the "
    f"{HEAD:.0%} of the other items with the most (items at the boundary count as {HEAD_NAME}); "
    f"{TAIL}: the rest",
    "history length": "training items of the user; three groups of about equal size",
    "text": "whether the held-out item has a text",
    "picture": "whether the held-out item has a picture",
    "time": "the held-out interactions in four groups of about equal size by their time",
}
_WORDS = {columns.TEXT: "text", columns.VISUAL: "picture"}


@dataclass(frozen=True)
class Stratum:
    """Some of the held-out pairs.

    Attributes:
        dimension: a name of `DEFINITIONS`.
        name: of the stratum.
        pairs: (P,) bool over the held-out pairs, in the order of `UserItems`.
    """

    dimension: str
    name: str
    pairs: Tensor


def strata(
    held_out: UserItems,
    train: UserItems,
    present: Mapping[str, NDArray[np.bool_]],
    times: NDArray[np.int64] | None,
) -> list[Stratum]:
    """All strata of one split that hold a pair; in the order of `DEFINITIONS`.

    Args:
        held_out: the validation or the test items.
        train: the training items.
        present: by modality, the (I,) mask of the items that have it.
        times: (P,) of the held-out pairs, in their order; None where one has no time.
    """
    items = held_out.items
    popularity = torch.bincount(train.items, minlength=train.n_items)
    found = [
        Stratum("item popularity", name, mask[items])
        for name, mask in _by_popularity(popularity).items()
    ]
    lengths = train.counts[held_out.users]
    found += _in_groups("history length", lengths.numpy(), GROUPS)
    for modality, mask in present.items():
        has, word = torch.from_numpy(mask)[items], _WORDS[modality]
        found += [Stratum(word, f"with {word}", has), Stratum(word, f"without {word}", ~has)]
    if times is not None:
        dates = times.astype("datetime64[ms]").astype("datetime64[D]")
        found += _in_groups("time", dates, QUARTERS)
    return [stratum for stratum in found if bool(stratum.pairs.any())]


def of_split(
    part: int,
    held_out: UserItems,
    train: UserItems,
    present: Mapping[str, NDArray[np.bool_]],
    split: Path,
) -> list[Stratum]:
    """The strata of one part of the split, whose times are read from the split's file."""
    wanted = [(columns.SPLIT, "==", part)]
    times = pq.read_table(split, columns=[columns.TIMESTAMP], filters=wanted)[columns.TIMESTAMP]
    known = None if times.null_count or not len(times) else times.to_numpy()
    return strata(held_out, train, present, known)


def rows(
    part: int,
    lists: Mapping[str, Tensor],
    held_out: UserItems,
    of: Sequence[Stratum],
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """The rows of `columns.STRATA` of one split.

    Args:
        part: of the split.
        lists: by branch, (B, K) the first items of `evaluated(held_out)`.
        held_out: the items of that split.
        of: from `strata`.
        seed: of the bootstrap.
    """
    row_of = torch.full((held_out.n_users,), -1)
    users = evaluated(held_out)
    row_of[users] = torch.arange(len(users))
    for branch, items in lists.items():
        hits = (items[row_of[held_out.users]] == held_out.items.unsqueeze(1)).any(dim=1)
        for stratum in of:
            recall = _recall(held_out.users[stratum.pairs], hits[stratum.pairs])
            low, high = interval(recall, seed)
            yield {
                columns.SPLIT: part,
                columns.BRANCH: branch,
                columns.DIMENSION: stratum.dimension,
                columns.STRATUM: stratum.name,
                columns.N_USERS: len(recall),
                columns.N_PAIRS: int(stratum.pairs.sum()),
                columns.NAME: columns.metric("recall", items.shape[1]),
                columns.VALUE: float(recall.mean()),
                columns.LOW: low,
                columns.HIGH: high,
            }


def _by_popularity(popularity: Tensor) -> dict[str, Tensor]:
    """The (I,) mask of each stratum, for (I,) numbers of training interactions."""
    trained = popularity > 0
    ordered = popularity[trained].sort(descending=True).values
    size = int(np.ceil(HEAD * len(ordered)))
    least = int(ordered[size - 1]) if size else 1
    head = popularity >= least
    return {COLD: ~trained, TAIL: trained & ~head, HEAD_NAME: head & trained}


def _in_groups(dimension: str, values: NDArray[Any], groups: int) -> list[Stratum]:
    """Strata of about equal size by (P,) values; equal values are in one stratum."""
    if not len(values):
        return []
    ordered = np.sort(values)
    upper = np.unique(ordered[[len(values) * n // groups - 1 for n in range(1, groups + 1)]])
    group = np.searchsorted(upper, values)
    found = []
    for n in range(len(upper)):
        mine = values[group == n]
        name = " to ".join(dict.fromkeys((str(mine.min()), str(mine.max()))))
        found.append(Stratum(dimension, name, torch.from_numpy(group == n)))
    return found


def _recall(users: Tensor, hits: Tensor) -> NDArray[np.float64]:
    """The share of hits of each user that occurs in (P,) users, in the order of the users."""
    _, inverse = torch.unique(users, return_inverse=True)
    found: NDArray[np.float64] = (
        torch.bincount(inverse, hits.double()) / torch.bincount(inverse)
    ).numpy()
    return found
