"""Vectors of a trained model: Parquet with ids, and an index of the items.

| file | holds |
|---|---|
| `BRANCH_users.parquet` | `user_id`, `vector` (d float32) |
| `BRANCH_items.parquet` | `asin`, `vector`; the score of a pair is the inner product |
| `BRANCH_items.faiss` | an exact faiss index by inner product; its id i is row i of the items |
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from brmrs.columns import ASIN, USER_ID, VECTOR
from brmrs.errors import UserError
from brmrs.models.base import Branch
from brmrs.models.bundle import Bundle
from brmrs.system import progress

ROWS = 1 << 16  # of a row group


def export(model: Bundle, out: Path) -> list[str]:
    """Write the vectors of every branch that scores by an inner product; returns notes.

    Raises:
        UserError: no branch does.
    """
    name = model.about.model["name"]
    notes = []
    branches = {}
    for branch, scorer in sorted(model.branches.items()):
        if isinstance(scorer, Branch):
            branches[branch] = scorer
        else:
            kind = model.about.scorers[branch]
            notes.append(f"branch {branch} has no vectors: it ranks by {kind}, no inner product")
    if not branches:
        raise UserError(
            f"--to vectors: no branch of {name} scores by an inner product of vectors; "
            "--to recommendations exports its answers"
        )
    with progress.task("writing vectors", 2 * len(branches)) as task:
        for branch, found in branches.items():
            _write(out / f"{branch}_users.parquet", USER_ID, model.about.users, found.p)
            task.advance()
            _write(out / f"{branch}_items.parquet", ASIN, model.about.items, found.q)
            if note := _index(out / f"{branch}_items.faiss", found.q):
                notes.append(note)
            task.advance()
    return list(dict.fromkeys(notes))


def _write(path: Path, key: str, ids: Sequence[str], rows: Tensor) -> None:
    dimension = rows.shape[1]
    schema = pa.schema(
        [
            pa.field(key, pa.string(), nullable=False),
            pa.field(VECTOR, pa.list_(pa.float32(), dimension), nullable=False),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(ids), ROWS):
            part = rows[start : start + ROWS].detach().float().contiguous().numpy()
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), dimension)
            columns = [pa.array(ids[start : start + ROWS], pa.string()), vectors]
            writer.write_table(pa.table(columns, schema=schema))


def _index(path: Path, items: Tensor) -> str:
    """Write the index; a note where faiss is not installed."""
    try:
        import faiss
    except ModuleNotFoundError:
        return "no faiss index: faiss is not installed (pip install 'brmrs[serve]')"
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items.detach().float().contiguous().numpy())
    faiss.write_index(index, str(path))
    return ""
