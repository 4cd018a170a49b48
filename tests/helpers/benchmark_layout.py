"""A tiny data set in the literature's benchmark layout, for tests."""

from pathlib import Path

import numpy as np
import polars as pl

ROWS = [  # user, item, label; not sorted; item 4 has no row
    (2, 1, 0),
    (0, 0, 0),
    (0, 1, 1),
    (0, 2, 2),
    (1, 3, 0),
    (1, 0, 2),
    (2, 3, 1),
    (2, 0, 0),
]
ITEMS, USERS = 5, 3


def write_layout(folder: Path) -> Path:
    """Write all files of the layout but the users' ids."""
    folder.mkdir()
    lines = [f"{user}\t{item}\t{label}\n" for user, item, label in ROWS]
    (folder / "tiny.inter").write_text("userID\titemID\tx_label\n" + "".join(lines))
    ids = [f"Z{ITEMS - item},{item}\n" for item in range(ITEMS)]
    (folder / "i_id_mapping.csv").write_text("asin,itemID\n" + "".join(reversed(ids)))
    generator = np.random.default_rng(0)
    for name in ("text", "image"):
        vectors = generator.normal(size=(ITEMS, 3)).astype(np.float16)
        vectors[2] = 0  # an item without the modality
        np.save(folder / f"{name}_feat.npy", vectors)
        write_neighbours(folder, name, [(0, 0, 1.0), (0, 3, 0.5), (3, 4, float("nan"))])
    return folder


def write_neighbours(folder: Path, name: str, rows: list[tuple[int, int, float]]) -> None:
    """Write a kNN table."""
    schema = {"item": pl.Int32, "neighbour": pl.Int32, "cosine": pl.Float32}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    table.write_parquet(folder / f"knn_{name}.parquet")
