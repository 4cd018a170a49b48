"""Dumps read out of core give the bytes of dumps read in memory."""

import gzip
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ByteSize

from brmrs.config.data import IngestConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError, os_fault
from brmrs.ingest import tables
from brmrs.ingest.amazon import encode_ids
from brmrs.ingest.out_of_core import budget, runs
from brmrs.ingest.stage import run
from brmrs.stages import StageContext

START = 900_000_000_000  # ms
IDS = ["a", "B", "é", "10", "9", "𝄞", "z" * 40, "a b", "aa"]
LARGE = 10**12  # bytes

reviews = st.builds(
    lambda user, item, rating, time: {
        "user_id": user,
        "parent_asin": item,
        "rating": rating,
        "timestamp": time,
    },
    st.sampled_from(IDS),
    st.sampled_from(IDS),
    st.sampled_from([1, 2.5, 5]),
    st.one_of(st.none(), st.integers(START, START + 3)),
)
items = st.builds(
    lambda asin, title, brand: {"parent_asin": asin, "title": title, "store": brand},
    st.sampled_from([*IDS, "never reviewed"]),
    st.text("abé<>&", max_size=4),
    st.sampled_from([None, "x", 7]),
)
lines = st.lists(st.one_of(reviews.map(json.dumps), st.sampled_from(["", "{bad", "{}"])))
metadata = st.lists(st.one_of(items.map(json.dumps), st.sampled_from(["", "[]"])), max_size=20)


def outcome(config: IngestConfig, folder: Path) -> dict[str, bytes] | str:
    """The bytes of all files that the stage writes, or its error."""
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    context = StageContext(PipelineConfig(ingest=config), {}, folder / "out", folder / "scratch")
    try:
        run(context)
    except UserError as error:
        return str(error)
    finally:
        assert not list(context.scratch.iterdir())
    return contents(context.out)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of its files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(
    st.lists(lines, min_size=1, max_size=3),
    metadata,
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from([None, 2, 2.6, 6]),
    st.sampled_from([1, 2_000, 20_000]),
)
def test_the_bytes_are_those_of_reading_in_memory(
    tmp_path_factory: pytest.TempPathFactory,
    dumps: list[list[str]],
    described: list[str],
    k: int,
    min_rating: float | None,
    memory: int,
) -> None:
    folder = tmp_path_factory.mktemp("dump")
    paths = [folder / f"{number}.json" for number in range(len(dumps))]
    for path, content in zip(paths, dumps, strict=True):
        path.write_text("\n".join(content))
    about = folder / "meta.json"
    about.write_text("\n".join(described))
    config = IngestConfig(
        reviews=tuple(paths),
        metadata=(about,) if "".join(described) else (),
        k=k,
        min_rating=min_rating,
        max_bad_share=0.9,
    )
    expected = outcome(config.model_copy(update={"memory": LARGE}), folder / "in_memory")
    found = outcome(config.model_copy(update={"memory": memory}), folder / "out_of_core")
    assert found == expected


def config_of(folder: Path, count: int, memory: int) -> IngestConfig:
    """`count` reviews of a few hundred users and items, and a description of every second item."""
    rng = np.random.default_rng(0)
    names = np.char.mod("u%x", (300 * rng.random(count) ** 2).astype(int))
    asins = np.char.mod("i%x", (90 * rng.random(count) ** 2).astype(int))
    path, about = folder / "reviews.json", folder / "meta.json"
    path.write_text(
        "".join(
            f'{{"user_id":"{user}","parent_asin":"{item}","rating":{stars},"timestamp":{time}}}\n'
            for user, item, stars, time in zip(
                names, asins, rng.integers(1, 6, count), rng.integers(START, 2 * START, count),
                strict=True,
            )
        )
    )  # fmt: skip
    about.write_text(
        "".join(f'{{"parent_asin":"i{n:x}","title":"T {n}"}}\n' for n in range(0, 90, 2))
    )
    return IngestConfig(reviews=(path,), metadata=(about,), memory=ByteSize(memory), k=2)


def test_many_chunks_and_ranges_and_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ITEMS_GROUP", 7)
    monkeypatch.setattr("brmrs.ingest.out_of_core.items.ITEMS_GROUP", 7)
    config = config_of(tmp_path, 5_000, 60_000)
    large = config.model_copy(update={"memory": LARGE})
    found = outcome(config, tmp_path / "a")
    assert isinstance(found, dict)
    assert found == outcome(large, tmp_path / "b")


def test_several_processes_write_their_own_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, 300, 10_000)
    second = tmp_path / "second.json"
    second.write_text(config.reviews[0].read_text().replace('"u1', '"v1'))
    config = config.model_copy(update={"reviews": (*config.reviews, second)})
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    expected = outcome(config.model_copy(update={"memory": LARGE}), tmp_path / "a")
    assert isinstance(expected, dict)
    monkeypatch.setattr(encode_ids, "SEVERAL_PROCESSES", 0)
    assert outcome(config, tmp_path / "b") == expected


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "a" / "scratch" / "out_of_core"
    config = config_of(tmp_path, 300, 10_000)
    expected = outcome(config, tmp_path / "b")
    left.mkdir(parents=True)
    (left / "part-0.rows").write_bytes(b"half a record")
    out = tmp_path / "a" / "out"
    out.mkdir()
    run(StageContext(PipelineConfig(ingest=config), {}, out, left.parent))
    assert contents(out) == expected
    assert not left.exists()


def test_the_decision_and_the_disk_are_reported_beforehand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, 2_000, 10_000)
    with caplog.at_level("INFO"):
        outcome(config, tmp_path / "a")
        outcome(config.model_copy(update={"memory": None}), tmp_path / "b")
    assert "about 2,000 reviews and 45 items would take 0.3 MB of memory" in caplog.text
    assert "(ingest.memory); out of core, they take 0.1 MB of disk" in caplog.text
    assert "about 2,000 reviews and 45 items fit in memory" in caplog.text
    monkeypatch.setitem(budget.ON_DISK, "reviews", 10**15)
    found = outcome(config, tmp_path / "c")
    assert isinstance(found, str)
    assert "free space, or raise ingest.memory" in found


def test_the_estimate_of_lines_follows_the_size_of_a_compressed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reviews.json.gz"
    content = config_of(tmp_path, 40_000, 1).reviews[0].read_bytes()
    path.write_bytes(gzip.compress(content))
    monkeypatch.setattr(budget, "SAMPLE", 1 << 20)
    assert budget.lines_of_file(path) == pytest.approx(40_000, rel=0.5)


@given(
    st.lists(st.lists(st.text("aé𝄞b", max_size=3), min_size=1), min_size=1, max_size=5),
    st.integers(1, 9),
)
def test_ids_are_numbered_in_sorted_order(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[list[str]], at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    written = []
    for number, ids in enumerate(chunks):
        distinct, codes = runs.encode_sorted([pa.array(ids, pa.large_string())])
        assert distinct.take(pa.array(codes)).to_pylist() == ids
        written.append(runs.Run.write(folder / f"{number}.ids", distinct, batch=2))
    expected = sorted({text for ids in chunks for text in ids})
    numbered = runs.number(written, folder, "users", at_once)
    parts = list(numbered.parts())
    assert [text for _, ids in parts for text in ids.to_pylist()] == expected
    assert [first for first, _ in parts] == list(
        np.cumsum([0, *(len(ids) for _, ids in parts)])[:-1]
    )
    for ids, each in zip(chunks, written, strict=True):
        assert [expected[code] for code in each.codes()] == sorted(set(ids))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_gives_advice_and_leaves_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path, 1_000, 10_000)
    with pytest.raises(OSError, match="too large") as failed, largest_file(300):
        outcome(config, tmp_path / "a")
    assert "ulimit -f" in str(os_fault(failed.value))
    ids = pa.array([f"{number:x}" for number in range(9999)], pa.large_string())
    with pytest.raises(OSError, match="too large") as failed, largest_file(300):
        runs.Run.write(tmp_path / "b.ids", ids)
    assert "ulimit -f" in str(os_fault(failed.value))


def test_a_real_dump_with_metadata(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "raw" / "gift_cards_2018"
    config = IngestConfig(
        reviews=(folder / "Gift_Cards_5.json.gz",),
        metadata=(folder / "meta_Gift_Cards.json.gz",),
        memory=ByteSize(100_000),
    )
    found = outcome(config, tmp_path / "a")
    assert isinstance(found, dict)
    large = config.model_copy(update={"memory": LARGE})
    assert found == outcome(large, tmp_path / "b")
