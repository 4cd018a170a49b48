"""Which held-out pairs moved from which set to which, between two models."""

from typing import Any

import numpy as np
import pyarrow as pa

from brmrs.columns import ITEM, USER
from brmrs.diagnosis.schemas import SET, SETS
from brmrs.errors import UserError


def transitions(old: pa.Table, new: pa.Table) -> list[dict[str, Any]]:
    """One row per pair of sets, in the order of `SETS`: "from", "to", "pairs", and their "share".

    Args:
        old: `pairs.parquet` of one model.
        new: of another model, of the same test pairs.

    Raises:
        UserError: they are of other pairs, or a set has an unknown name.
    """
    old, new = (table.sort_by([(USER, "ascending"), (ITEM, "ascending")]) for table in (old, new))
    if not all(old[name].equals(new[name]) for name in (USER, ITEM)):
        raise UserError(
            "the diagnoses are of other test pairs; compare runs of one data set and split"
        )
    before, after = (_places(table) for table in (old, new))
    counts = np.bincount(before * len(SETS) + after, minlength=len(SETS) ** 2)
    return [
        {
            "from": SETS[place // len(SETS)],
            "to": SETS[place % len(SETS)],
            "pairs": int(count),
            "share": count / len(before) if len(before) else None,
        }
        for place, count in enumerate(counts.tolist())
    ]


def _places(table: pa.Table) -> np.ndarray:
    names = table[SET].to_pylist()
    if unknown := set(names) - set(SETS):
        raise UserError(f"pairs.parquet has a set {min(unknown)!r}; run the pipeline again")
    return np.array([SETS.index(name) for name in names], dtype=np.int64)
