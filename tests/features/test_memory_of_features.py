"""Feature tables larger than what their stages may hold at once."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brmrs.features import embeddings, feature_table, table
from brmrs.features.text import stage as text
from brmrs.features.visual import regions
from brmrs.features.visual import stage as visual
from brmrs.training import data

ROWS, D = 1 << 17, 256
SIZE = 4 * ROWS * D  # 128 MiB

# Prints by how many bytes its memory grew at most. The first item has no vector.
WRITE_AND_READ = """
import sys, pathlib
import numpy as np
from brmrs.features import feature_table
from brmrs.system import machine
from brmrs.features import table

folder = pathlib.Path(sys.argv[1])
table.BLOCK_BYTES = 1 << 20
vectors = np.load(folder / "a.npy", mmap_mode="r")
before = machine.high_water()
extractor = table.Extractor("text", "", "", "", None)
table.write(folder, vectors, np.arange(len(vectors)) - 1, extractor)
del vectors
feature_table.read(folder / feature_table.FILE)
print(machine.high_water() - before)
"""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "BLOCK_BYTES", 1 << 20)


def drawn(path: Path, dimension: int = D) -> np.ndarray:
    """Vectors in a file."""
    vectors = embeddings.on_disk(path, ROWS, dimension)
    generator = np.random.default_rng(0)
    for rows in table.blocks(*vectors.shape):
        vectors[rows] = generator.random(vectors[rows].shape, dtype=np.float32)
    return vectors


def allocated(work: Callable[[], object]) -> int:
    """The most bytes that numpy holds at once, files in memory left out."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_centring_makes_no_copy(tmp_path: Path) -> None:
    vectors = drawn(tmp_path / "a.npy")
    expected = visual.centred(np.array(vectors))
    assert np.abs(expected.mean(axis=0)).max() < 1e-6
    assert allocated(lambda: visual.centred(vectors, into=vectors)) < SIZE / 4
    assert np.array_equal(vectors, expected)


def test_concatenated_vectors_are_on_disk(tmp_path: Path) -> None:
    parts = [drawn(tmp_path / "a.npy", D // 2), drawn(tmp_path / "b.npy", D // 2)]
    together = tmp_path / "together.npy"
    assert allocated(lambda: text.side_by_side(parts, together)) < SIZE / 4
    found = np.load(together, mmap_mode="r")
    assert np.array_equal(found, np.hstack([table.units(part) for part in parts]))


def test_a_table_is_in_memory_once(tmp_path: Path) -> None:
    vectors = drawn(tmp_path / "a.npy", 2 * D)  # beside which 60 MiB for the libraries are little
    command = [sys.executable, "-c", WRITE_AND_READ, str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.5 * vectors.nbytes
    found, present = feature_table.read(tmp_path / feature_table.FILE)
    assert np.array_equal(found[1:], vectors[:-1])
    assert present.tolist() == [False] + [True] * (ROWS - 1)


def test_maps_may_be_larger_than_memory(tmp_path: Path) -> None:
    """With a file that says so and takes no room."""
    shape, memory = (14, 14, 512), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    items = 4 * memory // (2 * 14 * 14 * 512)
    path = tmp_path / feature_table.REGIONS
    with path.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (items, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        try:
            file.truncate(file.tell() + 2 * items * 14 * 14 * 512)
        except OSError:
            pytest.skip("this file system has no such large files")
    maps = data.regions(tmp_path)
    assert maps is not None
    assert maps.shape == (items, 14 * 14, 512)
    assert not maps[-1].any()


def test_maps_are_written_in_blocks(tmp_path: Path) -> None:
    maps = embeddings.on_disk(tmp_path / "a.npy", 1 << 10, 1 << 16, np.float16)
    which = np.arange(len(maps))
    assert allocated(lambda: regions.write(tmp_path, maps, which, (16, 16, 256))) < SIZE / 4
    assert (tmp_path / "regions.npy").stat().st_size > SIZE
