"""Confidence intervals of the differences between two runs' test metrics."""

import numpy as np
import pyarrow as pa

from brmrs.columns import BRANCH, FUSED, SPLIT, SPLIT_NAMES, TEST, USER, VALIDATION
from brmrs.evaluation.paired import interval
from brmrs.stages import USERS
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, sound
from brmrs.store.tables import read_per_user

PER_USER = "evaluate/per_user.parquet"


def intervals(old: Run, new: Run, store: ArtifactStore) -> dict[str, dict[str, float]]:
    """The 95 % interval of new - old of each metric, paired by user.

    Returns:
        `{"low", "high", "users"}` by metric ("test.recall@20"). Empty if a run was not evaluated,
        an artifact was removed, or the runs have different users.

    Raises:
        UserError: a table is damaged.
    """
    if any("evaluate" not in run.stages or "ingest" not in run.stages for run in (old, new)):
        return {}
    if old.artifact("ingest").files.get(_name(USERS)) != new.artifact("ingest").files.get(
        _name(USERS)
    ):
        return {}
    if not all(_has_table(run, store) for run in (old, new)):
        return {}
    first, second = (_read(sound(run, store, "evaluate"), store) for run in (old, new))
    found = {}
    for part in (VALIDATION, TEST):
        one, other = (_of(table, part) for table in (first, second))
        users, rows, other_rows = np.intersect1d(one[USER], other[USER], return_indices=True)
        for name in one.keys() & other.keys() - {USER}:
            if len(users):
                low, high = interval(other[name][other_rows] - one[name][rows])
                values = {"low": low, "high": high, "users": float(len(users))}
                found[f"{SPLIT_NAMES[part]}.{name}"] = values
    return found


def _has_table(run: Run, store: ArtifactStore) -> bool:
    artifact = run.artifact("evaluate")
    return _name(PER_USER) in artifact.files and store.path(artifact).is_dir()


def _read(run: Run, store: ArtifactStore) -> pa.Table:
    """Metrics of the fused branch by user."""
    path = store.path(run.artifact("evaluate"), PER_USER)
    return read_per_user(path, [(BRANCH, "==", FUSED)])


def _of(table: pa.Table, part: int) -> dict[str, np.ndarray]:
    rows = table[SPLIT].to_numpy() == part
    names = [name for name in table.column_names if name not in (SPLIT, BRANCH)]
    return {name: table[name].to_numpy()[rows] for name in names}


def _name(read: str) -> str:
    return read.partition("/")[2]
