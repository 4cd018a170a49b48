"""Groups of held-out pairs: all, the strata of the evaluation, a sample's planted types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from brmrs.columns import ASIN, NO_PART, PARTS, TRUTH_INTERACTIONS, TYPE, USER_ID
from brmrs.diagnosis.bootstrap import Floats, Ints, per_user
from brmrs.diagnosis.schemas import ALL
from brmrs.errors import UserError, first_line
from brmrs.evaluation.strata import Stratum
from brmrs.models.bundle import Bundle

TRUTH_FILE = "interactions.parquet"
TYPES = (*PARTS, NO_PART)


@dataclass(frozen=True)
class Group:
    """Some of the P held-out pairs.

    Attributes:
        dimension: such as "history length"; "all" for all pairs.
        name: of the group.
        pairs: (P,) bool.
    """

    dimension: str
    name: str
    pairs: NDArray[np.bool_]

    def shares(self, users: Ints, values: Floats) -> tuple[Floats, Floats]:
        """What `bootstrap.resampled` takes for the mean over users of their mean over the pairs.

        Args:
            users: (P,) the places of the pairs' users.
            values: (P, Q).

        Returns:
            (U, Q) the mean of each user's pairs in the group, 0 without any, and (U, Q), 1 for a
            user with pairs in the group, else 0.
        """
        inside = self.pairs[:, None].astype(float)
        counts = per_user(users, inside)
        sums = per_user(users, values * inside)
        whole = np.broadcast_to(counts > 0, sums.shape).astype(float)
        return sums / np.maximum(counts, 1), whole

    def users(self, users: Ints) -> int:
        """The number of users with pairs in the group."""
        return len(np.unique(users[self.pairs]))


def groups(pairs: int, strata: Sequence[Stratum], types: NDArray[np.object_] | None) -> list[Group]:
    """All groups that hold a pair, in order.

    Args:
        pairs: P.
        strata: of the evaluation, over the same pairs.
        types: (P,) the planted type of each pair, None where the truth has none; None without
            truth.
    """
    found = [Group(ALL, ALL, np.ones(pairs, dtype=bool))] if pairs else []
    found += [Group(each.dimension, each.name, each.pairs.numpy()) for each in strata]
    if types is not None:
        found += [Group(TYPE, name, types == name) for name in TYPES if (types == name).any()]
    return found


def planted_types(
    folder: Path, model: Bundle, users: torch.Tensor, items: torch.Tensor
) -> NDArray[np.object_]:
    """The planted type of each of (P,) pairs; None where the truth lacks the pair.

    Args:
        folder: `truth` of a sample dump.
        model: its raw ids.
        users: (P,) dense ids.
        items: (P,).

    Raises:
        UserError: the folder holds no truth of a sample, or none of the pairs.
    """
    path = folder / TRUTH_FILE
    try:
        table = pq.read_table(path, columns=TRUTH_INTERACTIONS.names).cast(TRUTH_INTERACTIONS)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(
            f"diagnosis.truth: {path}: not the truth of a sample ({first_line(error)}); name the "
            "folder `truth` that brmrs sample wrote, or leave it out"
        ) from error
    of: Mapping[tuple[str, str], str] = {
        (user, item): kind
        for user, item, kind in zip(
            *(table[name].to_pylist() for name in (USER_ID, ASIN, TYPE)), strict=True
        )
    }
    if unknown := set(of.values()) - set(TYPES):
        raise UserError(
            f"diagnosis.truth: {path}: {min(unknown)!r} is no type of {', '.join(TYPES)}"
        )
    names = model.about.users, model.about.items
    keys = zip(users.tolist(), items.tolist(), strict=True)
    found = np.array([of.get((names[0][u], names[1][i])) for u, i in keys], dtype=object)
    if len(found) and not found.any():
        raise UserError(
            f"diagnosis.truth: {path}: has none of the test pairs; name the folder `truth` of the "
            "sample that the run reads"
        )
    return found
