"""Read the output of the feature stages: a vector and a presence flag per item, feature maps."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brmrs.columns import PRESENT, VECTOR

FILE = "features.parquet"
REGIONS = "regions.npy"  # optional, in the same folder


def read(table: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a `features.parquet`.

    Returns:
        (I, d) float32 vectors, zero where not present, and the (I,) mask of presence.
    """
    file = pq.ParquetFile(table)
    items, dimension = _shape(file)
    vectors = np.empty((items, dimension), dtype=np.float32)
    present = np.empty(items, dtype=np.bool_)
    start = 0
    for group in range(
        file.num_row_groups
    ):  # one group at a time: the whole table would be in memory twice
        part = file.read_row_group(group, columns=[VECTOR, PRESENT])
        rows = slice(start, start + len(part))
        vectors[rows] = part[VECTOR].combine_chunks().flatten().to_numpy().reshape(-1, dimension)
        present[rows] = part[PRESENT].to_numpy()
        start = rows.stop
    return vectors, present


def shape(table: Path) -> tuple[int, int]:
    """(I, d) of the vectors of a `features.parquet`, without reading them."""
    with pq.ParquetFile(table) as file:
        return _shape(file)


def _shape(file: pq.ParquetFile) -> tuple[int, int]:
    return file.metadata.num_rows, file.schema_arrow.field(VECTOR).type.list_size


def presence(table: Path) -> NDArray[np.bool_]:
    """The (I,) mask of presence of a `features.parquet`, without its vectors."""
    mask: NDArray[np.bool_] = pq.read_table(table, columns=[PRESENT])[PRESENT].to_numpy()
    return mask


def regions(folder: Path) -> NDArray[np.float16] | None:
    """The (I, h, w, D) feature maps of a feature folder, zeros where not present; None without any.

    The file is mapped read-only, so only the pages in use are read. A writable mapping would
    reserve as much memory as the file is long.
    """
    path = folder / REGIONS
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None
