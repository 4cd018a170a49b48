"""Own vectors of items: Parquet, or an array and a file of ids."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.stage import ingest

VECTORS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)  # of b, a, z


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    path.write_text("user,item\nu,a\nu,b\nv,c\n")
    return path


def read(orders: Path, **settings: Any) -> Any:
    values = {"format": "table", "interactions": orders, "k": 0, **settings}
    given = ingest(IngestConfig.model_validate(values)).given
    assert given is not None
    assert given.labels is None
    return given.features


def write(folder: Path, ids: str) -> list[Path]:
    np.save(folder / "clip.npy", VECTORS)
    (folder / "ids.txt").write_text(ids)
    return [folder / "clip.npy", folder / "ids.txt"]


@pytest.mark.parametrize("ids", ["b\na\nz\n", "id\nb\na\nz"])
def test_rows_are_in_the_order_of_the_items(tmp_path: Path, orders: Path, ids: str) -> None:
    found = read(orders, visual_vectors=write(tmp_path, ids))
    assert found["visual"].tolist() == [[3, 4], [1, 2], [0, 0]]  # a, b; c has none


@pytest.mark.parametrize("fixed", [True, False])
def test_parquet(tmp_path: Path, orders: Path, fixed: bool) -> None:
    kind: Any = pl.Array(pl.Float32, 2) if fixed else pl.List(pl.Float64)
    vectors = pl.Series("v", VECTORS.tolist(), dtype=kind)
    frame = pl.DataFrame({"sku": ["b", "a", "z"], "v": vectors})
    frame.write_parquet(tmp_path / "v.parquet")
    found = read(orders, text_vectors=tmp_path / "v.parquet")
    assert found["text"].tolist() == [[3, 4], [1, 2], [0, 0]]
    assert found["text"].dtype == np.float32


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("b\na\n", "2 ids for 3 vectors"),
        ("b\na\nb\n", "the item 'b' has two vectors"),
        ("x\ny\nz\n", "no vector belongs to an item; ids of vectors: x, y, z; ids of items: a, b"),
        ("b\n\nz\n", "a line for each"),
    ],
)
def test_ids_that_do_not_fit(tmp_path: Path, orders: Path, ids: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(orders, visual_vectors=write(tmp_path, ids))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1, np.nan]] * 3), "row 0: not all numbers are finite"),
        (np.array([1.0, 2.0, 3.0]), "of shape"),
        (np.array([["a"]] * 3), "of numbers"),
        (np.array([[{}]] * 3, dtype=object), "no NumPy array of numbers"),
        (np.zeros((3, 0)), "a vector needs a number at least"),
    ],
)
def test_arrays_that_are_no_vectors(tmp_path: Path, orders: Path, array: Any, message: str) -> None:
    paths = write(tmp_path, "a\nb\nz\n")
    np.save(paths[0], array, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        read(orders, visual_vectors=paths)


def test_parquet_without_one_column_of_vectors(tmp_path: Path, orders: Path) -> None:
    path = tmp_path / "v.parquet"
    pl.DataFrame({"item": ["a", "b"], "v": [[1.0], [1.0, 2.0]]}).write_parquet(path)
    with pytest.raises(UserError, match="the lists of v differ in length"):
        read(orders, text_vectors=path)
    pl.DataFrame({"item": ["a"], "v": ["x"]}).write_parquet(path)
    with pytest.raises(UserError, match="0 columns are lists of numbers, expected one"):
        read(orders, text_vectors=path)
