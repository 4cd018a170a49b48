"""Confidence intervals of the differences between two runs' test metrics."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.columns import BRANCH, FUSED, SPLIT, SPLIT_NAMES, TEST, USER, VALIDATION
from brmrs.evaluation.paired import interval
from brmrs.stages import USERS
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run

PER_USER = "evaluate/per_user.parquet"
CONFIDENCE = 0.95


def intervals(old: Run, new: Run, store: ArtifactStore) -> dict[str, dict[str, float]]:
    """The 95 % interval of new - old of each metric, paired by user.

    Returns:
        `{"low", "high", "users"}` by metric ("test.recall@20"). Empty if a run was not evaluated,
        an artifact was removed, or the runs have different users.
    """
    if any("evaluate" not in run.stages or "ingest" not in run.stages for run in (old, new)):
        return {}
    if old.artifact("ingest").files.get(_name(USERS)) != new.artifact("ingest").files.get(
        _name(USERS)
    ):
        return {}
    paths = [store.path(run.artifact("evaluate"), PER_USER) for run in (old, new)]
    if not all(path.is_file() for path in paths):
        return {}
    first, second = (pq.read_table(path, filters=[(BRANCH, "==", FUSED)]) for path in paths)
    found = {}
    for part in (VALIDATION, TEST):
        one, other = (_of(table, part) for table in (first, second))
        users, rows, other_rows = np.intersect1d(one[USER], other[USER], return_indices=True)
        for name in one.keys() & other.keys() - {USER}:
            if len(users):
                low, high = interval(other[name][other_rows] - one[name][rows], CONFIDENCE)
                values = {"low": low, "high": high, "users": float(len(users))}
                found[f"{SPLIT_NAMES[part]}.{name}"] = values
    return found


def _of(table: pa.Table, part: int) -> dict[str, np.ndarray]:
    rows = table[SPLIT].to_numpy() == part
    names = [name for name in table.column_names if name not in (SPLIT, BRANCH)]
    return {name: table[name].to_numpy()[rows] for name in names}


def _name(read: str) -> str:
    return read.partition("/")[2]
