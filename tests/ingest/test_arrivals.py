"""Which files count as new dumps."""

import bz2
import gzip
import json
import os
import threading
import time
from pathlib import Path

import polars
import pytest
import zstandard

from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest.arrivals import absent, let_rest, look, named_files, wait_for
from brmrs.ingest.stage import ingest

CONTENT = b"".join(b'{"reviewerID": "u%d", "asin": "i", "overall": 5}\n' % n for n in range(999))
OLD = 1_700_000_000  # long at rest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "monthly"
    folder.mkdir()
    return folder


def settings(folder: Path, **retrain: object) -> PipelineConfig:
    return parse({"ingest": {"reviews": folder}, "retrain": retrain}, "test")


def put(path: Path, content: bytes, changed: float = OLD) -> Path:
    path.write_bytes(content)
    os.utime(path, (changed, changed))
    return path


def names(config: PipelineConfig) -> list[str]:
    return [path.name for path in look(config).files["reviews"]]


def test_complete_files_of_every_packing(folder: Path) -> None:
    put(folder / "a.jsonl", CONTENT)
    put(folder / "b.jsonl.gz", gzip.compress(CONTENT))
    put(folder / "c.jsonl.gz", gzip.compress(CONTENT) + gzip.compress(CONTENT))
    put(folder / "d.jsonl.zst", zstandard.compress(CONTENT))
    put(folder / ".e.jsonl.gz.part", b"hidden")
    put(folder / "e.jsonl.bz2", bz2.compress(CONTENT))
    put(folder / "readme.txt", b"no dump")
    assert names(settings(folder)) == [
        "a.jsonl",
        "b.jsonl.gz",
        "c.jsonl.gz",
        "d.jsonl.zst",
        "e.jsonl.bz2",
    ]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_half_a_file_is_left_out_however_long_it_rests(
    folder: Path, pack: object, share: float
) -> None:
    assert callable(pack)
    whole = pack(CONTENT)
    path = put(folder / "new.jsonl.packed.json", whole[: int(len(whole) * share)])
    found = look(settings(folder))
    assert found.files["reviews"] == {}
    assert "middle" in found.unfinished[path]
    put(path, whole, OLD + 1)
    assert names(settings(folder)) == [path.name]


def test_half_a_gzip_trailer_is_not_enough(folder: Path) -> None:
    whole = gzip.compress(CONTENT)
    for missing in range(1, 9):  # CRC and size are the last eight bytes
        path = put(folder / "new.json.gz", whole[:-missing], OLD + missing)
        assert path in look(settings(folder)).unfinished


def test_what_changed_just_now_or_is_empty_waits(folder: Path) -> None:
    young = put(folder / "young.json", CONTENT, time.time())
    empty = put(folder / "empty.json", b"")
    put(folder / "tomorrow.json", CONTENT, time.time() + 86_400)  # somebody else's clock
    found = look(settings(folder, at_rest=60))
    assert set(found.unfinished) == {young, empty}
    assert names(settings(folder, at_rest=0)) == ["tomorrow.json", "young.json"]


def test_a_file_copied_a_moment_ago_is_given_its_time(folder: Path) -> None:
    put(folder / "a.json", CONTENT, time.time())
    config = settings(folder, at_rest=0.5)
    assert names(config) == []
    let_rest(config)
    assert names(config) == ["a.json"]


def test_allow_truncated_takes_what_is_there(folder: Path) -> None:
    put(folder / "a.json.gz", gzip.compress(CONTENT)[:-20])
    config = parse({"ingest": {"reviews": folder, "allow_truncated": True}}, "test")
    assert names(config) == ["a.json.gz"]


def test_replace_takes_the_file_changed_last_among_the_complete(folder: Path) -> None:
    put(folder / "1.json.gz", gzip.compress(CONTENT), OLD)
    put(folder / "2.json.gz", gzip.compress(CONTENT + CONTENT), OLD + 1)
    put(folder / "3.json.gz", gzip.compress(CONTENT)[:-1], OLD + 2)
    assert names(settings(folder, dumps="add")) == ["1.json.gz", "2.json.gz"]
    assert names(settings(folder, dumps="replace")) == ["2.json.gz"]


def test_contents_tell_bytes_not_names(folder: Path) -> None:
    first = put(folder / "1.json", CONTENT)
    before = look(settings(folder))
    first.rename(folder / "other.json")
    put(folder / "copy.json", CONTENT)
    after = look(settings(folder))
    assert after.contents == before.contents
    assert [path.name for path in after.into(settings(folder)).ingest.reviews] == ["copy.json"]
    put(folder / "2.json", CONTENT + b"\n")
    assert look(settings(folder)).contents != before.contents


def test_a_known_digest_spares_the_decompression(folder: Path) -> None:
    path = put(folder / "1.json.gz", gzip.compress(CONTENT)[:-1])
    (digest,) = (
        look(parse({"ingest": {"reviews": folder, "allow_truncated": True}}, "t"))
        .files["reviews"]
        .values()
    )
    assert path not in look(settings(folder), {digest}).unfinished


def test_junk_in_a_folder_is_set_aside_and_named(folder: Path) -> None:
    put(folder / "good.json", CONTENT)
    junk = {
        "page.json": (b"<html>\n", "none of the first lines is a review or metadata"),
        "table.csv": (b"a,b\n1,2\n", "a table with the first line 'a,b'"),
        "archive.json": (b"PK\x03\x04rest", "found a zip archive"),
        "damaged.json.gz": (gzip.compress(CONTENT)[:-8] + b"\0" * 8, "damaged"),
    }
    for name, (content, _) in junk.items():
        put(folder / name, content)
    found = look(settings(folder))
    assert [path.name for path in found.files["reviews"]] == ["good.json"]
    assert {path.name for path in found.set_aside} == junk.keys()
    for path, reason in found.set_aside.items():
        assert junk[path.name][1] in reason
        assert path.name in reason


def test_a_folder_may_hold_reviews_and_metadata(folder: Path) -> None:
    put(folder / "a.json", CONTENT)
    put(folder / "meta_a.json", b'{"asin": "i", "title": "T"}\n')
    found = look(settings(folder))
    names = {field: [path.name for path in files] for field, files in found.files.items()}
    assert names == {"reviews": ["a.json"], "metadata": ["meta_a.json"]}
    config = found.into(settings(folder, dumps="replace")).ingest
    (item,) = ingest(config.model_copy(update={"k": 0})).items
    assert item.title == "T"


def test_a_file_rewritten_in_place_with_its_time_set_back_is_seen(folder: Path) -> None:
    path = put(folder / "a.json", CONTENT)
    before = look(settings(folder)).contents
    time.sleep(0.01)  # the clock of some file systems ticks every few ms
    with path.open("r+b") as file:
        file.write(CONTENT.replace(b"u1", b"v1"))
    os.utime(path, (OLD, OLD))
    assert look(settings(folder)).contents != before


def test_an_empty_folder_holds_nothing_and_a_missing_one_is_told(folder: Path) -> None:
    assert look(settings(folder)).contents == {"reviews": [], "metadata": []}
    with pytest.raises(UserError, match="gone: no such file"):
        look(settings(folder / "gone"))
    with pytest.raises(UserError, match=r"ingest\.format"):
        look(parse({"ingest": {"format": "ready-made", "path": folder}}, "t"))


def test_waits_for_a_file_that_is_being_written(folder: Path) -> None:
    whole = gzip.compress(CONTENT)
    path = put(folder / "slow.json.gz", whole[:100])
    done = threading.Event()

    def write_the_rest() -> None:
        time.sleep(1)
        done.set()
        put(path, whole)

    writer = threading.Thread(target=write_the_rest)
    writer.start()
    wait_for(path, settings(folder))
    assert done.is_set()
    writer.join()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("monthly/half.json.gz", "ends in the middle"),
        ("monthly/none.json.gz", "no such file"),
        ("elsewhere.json", "no file in a place"),
        ("monthly/deep/a.json", "no file in a place"),
        ("monthly/../elsewhere.json", "no file in a place"),
        ("monthly", "no file in a place"),
    ],
)
def test_a_named_file_that_cannot_be_waited_for_is_told(folder: Path, name: str, told: str) -> None:
    put(folder / "half.json.gz", gzip.compress(CONTENT)[:-1])
    with pytest.raises(UserError, match=told):
        wait_for(folder.parent / name, settings(folder, timeout=0))


def test_a_named_file_may_be_a_link_to_where_it_lies(folder: Path) -> None:
    put(folder.parent / "elsewhere.json", CONTENT)
    link = folder / "1.json"
    link.symlink_to(folder.parent / "elsewhere.json")
    wait_for(link, settings(folder, timeout=0))
    assert names(settings(folder)) == ["1.json"]


def test_of_a_pair_in_two_months_the_later_rating_stays(folder: Path) -> None:
    """Whichever file it stands in."""

    def month(rating: int, second: int) -> bytes:
        row = {"reviewerID": "u", "asin": "i", "overall": rating, "unixReviewTime": second}
        return gzip.compress(json.dumps(row).encode() + b"\n")

    put(folder / "2026-01.json.gz", month(1, 2000))
    put(folder / "2026-02.json.gz", month(5, 1000))
    config = parse({"ingest": {"reviews": folder, "k": 0}}, "t")
    found = ingest(look(config).into(config).ingest)
    assert found.interactions.rating.tolist() == [1.0]
    assert found.statistics["reviews"]["duplicates"] == 1


def test_files_named_one_by_one_are_told_from_folders(folder: Path) -> None:
    reviews, metadata = put(folder / "r.json", CONTENT), folder / "m.json"
    values = {"ingest": {"reviews": [str(folder), str(reviews)], "metadata": str(metadata)}}
    assert named_files(parse(values, "t")) == [reviews, metadata]
    assert absent(parse(values, "t")) == [metadata]


def tables(folder: Path) -> PipelineConfig:
    items = put(folder.parent / "products.csv", b"item,title\ni,T\n")
    values = {"format": "table", "interactions": folder, "items": items, "k": 0}
    return parse({"ingest": values}, "test")


def test_tables_of_every_kind_arrive(folder: Path) -> None:
    put(folder / "2024-01.csv", b"user,item\nu,i\n")
    put(folder / "2024-02.csv.gz", gzip.compress(b"user,item\nv,i\n"))
    polars.DataFrame({"user": ["w"], "item": ["i"]}).write_parquet(folder / "2024-03.parquet")
    whole = (folder / "2024-03.parquet").read_bytes()
    put(folder / "2024-03.parquet", whole)
    put(folder / "2024-04.parquet", whole[:-2])
    put(folder / "notes.csv", b"when,what\nmonday,nothing\n")
    config = tables(folder)
    found = look(config)
    assert found.has_interactions
    assert [path.name for path in found.files["interactions"]] == [
        "2024-01.csv",
        "2024-02.csv.gz",
        "2024-03.parquet",
    ]
    assert list(found.unfinished.values()) == ["ends in the middle of a Parquet file"]
    assert [path.name for path in found.set_aside] == ["notes.csv"]
    assert ingest(found.into(config).ingest).user_ids == ["u", "v", "w"]


def test_tables_without_interactions_start_nothing(folder: Path) -> None:
    assert not look(tables(folder)).has_interactions
