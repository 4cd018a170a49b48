import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brmrs import columns
from brmrs.config.pipeline import PipelineConfig
from brmrs.features import embeddings
from brmrs.features.embeddings import gather, recipe
from brmrs.stages import StageContext
from brmrs.system import code
from brmrs.system.files import digest_bytes

CONTENTS = [f"{number:064x}" for number in range(20)]
D = 3


def vector(content: str) -> np.ndarray:
    return np.array([int(content, 16), 1, -1], dtype=np.float32) / 7


class Embedder:
    """Counts what it is asked for; dies before a content, if told to."""

    def __init__(self, contents: list[str], dies_at: str = "") -> None:
        self.contents, self.dies_at = contents, dies_at
        self.asked: list[str] = []

    def __call__(self, new: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.asked = [self.contents[row] for row in new]
        for start in range(0, len(new), 3):
            rows = np.arange(start, min(start + 3, len(new)))
            names = [self.asked[row] for row in rows]
            if self.dies_at in names:
                os.kill(os.getpid(), signal.SIGKILL)
            yield rows, np.stack([vector(name) for name in names])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "SHARD", 4)


def context(folder: Path) -> StageContext:
    return StageContext(
        PipelineConfig(),
        {},
        folder / "out",
        folder / "scratch",
        stage_cache=folder / "kept",
    )


def embedded(
    folder: Path, contents: list[str], digest: str = "a" * 64, dies_at: str = ""
) -> tuple[embeddings.Rows, list[str]]:
    """The rows of contents, checked, and those that were embedded for them."""
    embedder = Embedder(contents, dies_at)
    rows = gather(context(folder), "text", digest, contents, D, embedder)
    expected = [vector(content) for content in contents]
    assert np.array_equal(rows.vectors, np.array(expected, dtype=np.float32).reshape(-1, D))
    assert rows.embedded == len(embedder.asked)
    return rows, embedder.asked


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "kept").glob("*/*"))


def test_cached_rows_are_not_embedded_again(tmp_path: Path) -> None:
    assert embedded(tmp_path, CONTENTS)[1] == CONTENTS
    assert [path.suffix for path in shards(tmp_path)] == [".parquet"] * 5
    assert embedded(tmp_path, CONTENTS)[1] == []
    changed = [*CONTENTS[::-1][:19], f"{99:064x}"]
    rows, asked = embedded(tmp_path, changed)
    assert asked == [f"{99:064x}"]
    assert len(rows.shards) == 6
    assert all((tmp_path / "kept" / name).is_file() for name in rows.shards)


def maps(contents: list[str]) -> np.ndarray:
    return np.array([[int(content, 16), 0.5] for content in contents], dtype=np.float16)


def test_maps_are_cached_with_the_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "SHARD_BYTES", 2 * (4 * D + 2 * 2))  # two rows
    embedder = Embedder(CONTENTS)

    def embed(new: np.ndarray) -> Iterator[embeddings.Embedded]:
        for rows, vectors in embedder(new):
            yield rows, vectors, maps([embedder.asked[row] for row in rows])

    for asked in (CONTENTS, []):
        rows = gather(context(tmp_path), "visual", "a" * 64, CONTENTS, D, embed, regions=2)
        assert embedder.asked == asked
        assert rows.regions is not None
        assert rows.regions.dtype == np.float16
        assert np.array_equal(rows.regions, maps(CONTENTS))
        assert np.array_equal(rows.vectors, np.stack([vector(each) for each in CONTENTS]))
        assert len(shards(tmp_path)) == len(rows.shards) == 10


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve room")
def test_disk_space_is_reserved_before_anything_is_embedded(tmp_path: Path) -> None:
    """A mapped file that finds the disk full later ends the process without a word."""
    dimension, taken = 2**14, []

    def embed(new: np.ndarray) -> Iterator[embeddings.Embedded]:
        (path,) = (tmp_path / "scratch").glob("*.npy")
        taken.append(path.stat().st_blocks * 512)
        return iter([(new, np.zeros((len(new), dimension), dtype=np.float32))])

    gather(context(tmp_path), "visual", "a" * 64, CONTENTS, dimension, embed)
    assert taken[0] >= 4 * dimension * len(CONTENTS)


def test_nothing_to_embed(tmp_path: Path) -> None:
    rows, _ = embedded(tmp_path, [])
    assert rows.vectors.shape == (0, D)
    assert rows.shards == ()


def test_only_shards_in_use_are_named(tmp_path: Path) -> None:
    embedded(tmp_path, CONTENTS)
    assert len(embedded(tmp_path, CONTENTS[:1])[0].shards) == 1


def test_another_recipe_shares_nothing(tmp_path: Path) -> None:
    embedded(tmp_path, CONTENTS)
    assert embedded(tmp_path, CONTENTS, "b" * 64)[1] == CONTENTS


@pytest.mark.parametrize("damage", [b"", b"PAR1 and nonsense", None])
def test_a_damaged_shard_is_dropped_and_its_rows_embedded_again(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    embedded(tmp_path, CONTENTS)
    path = shards(tmp_path)[2]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data) if damage is None else damage)
    _, asked = embedded(tmp_path, CONTENTS)
    assert len(asked) == 4
    assert f"{path.name} is damaged" in caplog.text
    assert embedded(tmp_path, CONTENTS)[1] == []


def test_a_forged_shard_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its name is the digest of its bytes, which are no shard."""
    embedded(tmp_path, CONTENTS)
    folder = shards(tmp_path)[0].parent
    sink = BytesIO()
    pq.write_table(pa.table({"sha256": [1], "vector": ["a"]}), sink)
    gaps, schema = BytesIO(), columns.embeddings(D)
    rows = pa.table({"sha256": CONTENTS[:3], "vector": [None, None, [1.0] * D]}, schema=schema)
    pq.write_table(rows, gaps)
    forged = [b"", b"PAR1 no table PAR1", sink.getvalue(), gaps.getvalue()]
    for data in forged:
        (folder / f"{digest_bytes(data)}.parquet").write_bytes(data)
    assert embedded(tmp_path, CONTENTS)[1] == []
    assert caplog.text.count("is damaged") == len(forged)


def test_a_shard_of_few_bytes_and_many_rows_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded(tmp_path, CONTENTS)
    monkeypatch.setattr(embeddings, "MOST_ROWS", 3)
    assert embedded(tmp_path, CONTENTS)[1] == CONTENTS


def test_no_file_behind_a_link_is_removed_or_overwritten(tmp_path: Path) -> None:
    """In a store that was copied from elsewhere, a folder or file may be a link to anything."""
    home = tmp_path / "home"
    home.mkdir()
    mine = [home / "mine.parquet", home / "notes.npy"]
    for path in mine:
        path.write_text("precious")
    folder = "a" * embeddings.LETTERS
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / folder).symlink_to(home, target_is_directory=True)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / f"{folder}-vector.npy").symlink_to(mine[1])
    assert embedded(tmp_path, CONTENTS)[1] == CONTENTS
    assert [path.read_text() for path in mine] == ["precious", "precious"]


def test_a_pipe_among_the_shards_is_left_out(tmp_path: Path) -> None:
    embedded(tmp_path, CONTENTS)
    os.mkfifo(shards(tmp_path)[0].parent / "pipe.parquet")
    assert embedded(tmp_path, CONTENTS)[1] == []


def die(folder: str) -> None:
    """Run by another process."""
    embeddings.SHARD = 4
    embedded(Path(folder), CONTENTS, dies_at=CONTENTS[13])


def other(code: str, *words: str) -> "subprocess.Popen[bytes]":
    search = os.pathsep.join((str(Path(__file__).parent), str(Path(__file__).parents[2])))
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys, test_embeddings as t; {code}", *words],
        env={**os.environ, "PYTHONPATH": search},
    )


def test_a_kill_loses_one_shard_at_most(tmp_path: Path) -> None:
    assert other("t.die(sys.argv[1])", str(tmp_path)).wait() == -signal.SIGKILL
    _, asked = embedded(tmp_path, CONTENTS)
    assert asked == CONTENTS[12:]  # the twelve rows before the kill fill three shards


def race(folder: str) -> None:
    """Run by other processes."""
    embeddings.SHARD = 4
    for last in range(1, len(CONTENTS) + 1):
        embedded(Path(folder), CONTENTS[:last])


def test_two_processes_at_once(tmp_path: Path) -> None:
    # Scratch folders are of one stage under one key, and a lock lets one process have that.
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").symlink_to(tmp_path, target_is_directory=True)
    racing = [other("t.race(sys.argv[1])", str(tmp_path / name)) for name in ("one", "two")]
    assert [process.wait() for process in racing] == [0, 0]
    assert all(path.suffix == ".parquet" for path in tmp_path.glob("*/*") if path.is_file())


HEAP, EMBEDDINGS = "brmrs.system.heap", "brmrs.features.embeddings"


def test_a_recipe_is_weights_settings_code_and_libraries() -> None:
    base = recipe("w", {"a": 1}, HEAP, ("numpy",))
    assert base == recipe("w", {"a": 1}, HEAP, ("numpy",))
    others = [
        recipe("v", {"a": 1}, HEAP, ("numpy",)),
        recipe("w", {"a": 2}, HEAP, ("numpy",)),
        recipe("w", {"a": 1}, EMBEDDINGS, ("numpy",)),
        recipe("w", {"a": 1}, HEAP, ("pyarrow",)),
    ]
    assert len({base, *others}) == 5


ENCODERS = ("brmrs.features.text.encoder", "brmrs.features.visual.encoder")


@pytest.mark.parametrize(
    ("module", "changed"),
    [
        ("brmrs.features.precision", set(ENCODERS)),
        ("brmrs.features.text.encoder", {ENCODERS[0]}),
        ("brmrs.features.visual.folding", {ENCODERS[1]}),
        ("brmrs.features.visual.towers", {ENCODERS[1]}),
        ("brmrs.images.decode", {ENCODERS[1]}),
        ("brmrs.features.embeddings", set()),
        ("brmrs.features.text.stage", set()),
        ("brmrs.features.visual.stage", set()),
    ],
)
def test_only_changes_of_code_that_embeds_change_the_recipe(
    module: str, changed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(code.ROOT, tmp_path / "brmrs", ignore=shutil.ignore_patterns("__pycache__"))
    cached = (code.closure, code.libraries, code.digest, code.source)
    path = tmp_path.joinpath(*module.split(".")).with_suffix(".py")

    def recipes() -> dict[str, str]:
        for function in cached:
            function.cache_clear()
        return {encoder: recipe("w", {}, encoder) for encoder in ENCODERS}

    with monkeypatch.context() as patch:
        patch.setattr(code, "ROOT", tmp_path / "brmrs")
        before = recipes()
        path.write_text(f"# a comment\n{path.read_text()}")
        assert recipes() == before
        path.write_text(f"{path.read_text()}\nEXTRA = 1\n")
        after = recipes()
    recipes()
    assert {encoder for encoder in ENCODERS if before[encoder] != after[encoder]} == changed
