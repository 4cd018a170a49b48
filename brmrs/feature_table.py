"""The feature table that the feature stages write: one vector per item, and whether it is there."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brmrs.columns import PRESENT, VECTOR

FILE = "features.parquet"


def read(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a stage's `features.parquet`.

    Returns:
        (I, d) float32 vectors, zero where not present, and the (I,) mask of presence.
    """
    table = pq.read_table(folder / FILE, columns=[VECTOR, PRESENT])
    dimension = table.schema.field(VECTOR).type.list_size
    vectors = table[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    present = table[PRESENT].to_numpy()
    return vectors.reshape(-1, dimension).astype(np.float32, copy=False), present


def presence(table: Path) -> NDArray[np.bool_]:
    """The (I,) mask of presence of a `features.parquet`, without its vectors."""
    mask: NDArray[np.bool_] = pq.read_table(table, columns=[PRESENT])[PRESENT].to_numpy()
    return mask
