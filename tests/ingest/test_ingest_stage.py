import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from brmrs import columns
from brmrs.config.data import IngestConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest.dataset import Item
from brmrs.ingest.interactions import NO_TIME, Interactions, latest
from brmrs.ingest.stage import ingest, run
from brmrs.stages import StageContext

SQUARE = [("u2", "i1"), ("u2", "i3"), ("u1", "i1"), ("u1", "i3")]


START = 900_000_000_000  # ms


def review(user: str, item: str, rating: float = 5.0, time: int | None = 1) -> dict[str, Any]:
    """A review `time` ms after the start."""
    when = None if time is None else START + time
    return {"user_id": user, "parent_asin": item, "rating": rating, "timestamp": when}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def configure(tmp_path: Path, rows: list[dict[str, Any]], **fields: Any) -> IngestConfig:
    fields = {"k": 2, **fields}
    return IngestConfig(reviews=(write(tmp_path / "reviews.json", rows),), **fields)


def test_gift_cards_give_the_known_sizes(shared_data: Path) -> None:
    folder = shared_data / "raw" / "gift_cards_2018"
    config = IngestConfig(
        reviews=(folder / "Gift_Cards_5.json.gz",), metadata=(folder / "meta_Gift_Cards.json.gz",)
    )
    found = ingest(config)
    assert (len(found.interactions), len(found.user_ids), len(found.asins)) == (2941, 453, 147)
    assert found.statistics["reviews"] == {
        "files": 1,
        "lines": 2972,
        "generations": {"2018": 2972},
        "quarantined": {},
        "unusable_fields": {},
        "times_in_other_unit": 0,
        "below_min_rating": 0,
        "duplicates": 7,
    }
    sizes = {"users": 458, "items": 148, "interactions": 2965}
    assert found.statistics["before_k_core"] == sizes
    assert found.statistics["items_with"]["text"] == 147
    everything = ingest(config.model_copy(update={"k": 0}))
    assert everything.statistics["items_with"]["description"] == 147  # of two, feature alone
    assert everything.statistics["items_with"]["image_address"] == 116


@pytest.mark.parametrize(
    ("name", "lines", "pairs"), [("All_Beauty", 5269, 4092), ("AMAZON_FASHION", 3176, 3042)]
)
def test_repeated_pairs_of_real_dumps(shared_data: Path, name: str, lines: int, pairs: int) -> None:
    path = shared_data / "raw" / "reviews_only_2018" / f"{name}_5.json.gz"
    statistics = ingest(IngestConfig(reviews=(path,), k=0)).statistics
    assert statistics["reviews"]["lines"] == lines
    assert statistics["interactions"] == pairs


def test_ids_are_sorted_and_interactions_sorted_by_them(tmp_path: Path) -> None:
    found = ingest(configure(tmp_path, [review(*pair) for pair in [*SQUARE, ("u0", "i2")]]))
    assert found.user_ids == ["u1", "u2"]
    assert found.asins == ["i1", "i3"]
    assert found.interactions.user.tolist() == [0, 0, 1, 1]
    assert found.interactions.item.tolist() == [0, 1, 0, 1]


def test_the_latest_of_a_pair_decides_then_the_minimum_rating_then_the_core(
    tmp_path: Path,
) -> None:
    rows = [review(*pair, rating=4) for pair in SQUARE]
    rows += [review("u1", "i1", rating=5, time=9), review("u2", "i1", rating=1, time=9)]
    rows += [review("u3", item) for item in ("i1", "i3")]
    found = ingest(configure(tmp_path, rows, min_rating=3))
    assert found.user_ids == ["u1", "u3"]  # the last word of u2 on i1 is 1
    assert found.interactions.rating.tolist() == [5, 4, 5, 5]
    assert found.interactions.timestamp.tolist() == [START + time for time in (9, 1, 1, 1)]
    assert found.statistics["reviews"]["below_min_rating"] == 1
    assert found.statistics["reviews"]["duplicates"] == 2
    assert found.statistics["ratings"] == {"4": 1, "5": 3}


def test_a_repeated_pair_does_not_help_into_the_core(tmp_path: Path) -> None:
    rows = [review(*pair) for pair in SQUARE] + [review("u3", "i1", time=time) for time in range(5)]
    assert ingest(configure(tmp_path, rows)).user_ids == ["u1", "u2"]


rows = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 3), st.sampled_from([1, 3, 5]), st.integers(NO_TIME, 3)
    ),
    max_size=40,
)


def interactions_of(data: list[tuple[int, int, int, int]]) -> Interactions:
    user, item, rating, time = np.array(data, dtype=np.int64).reshape(-1, 4).T
    return Interactions(
        user.astype(np.int32), item.astype(np.int32), rating.astype(np.float32), time
    )


@given(rows, st.randoms(use_true_random=False))
def test_the_latest_is_kept_whatever_the_order(data: list[Any], random: Any) -> None:
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for user, item, rating, time in data:
        best[user, item] = max(best.get((user, item), (NO_TIME - 1, 0)), (time, rating))
    expected = [(*pair, rating, time) for pair, (time, rating) in sorted(best.items())]
    random.shuffle(data)
    kept = latest(interactions_of(data))
    columns_kept = (kept.user, kept.item, kept.rating, kept.timestamp)
    assert list(zip(*(column.tolist() for column in columns_kept), strict=True)) == expected


def test_metadata_are_joined(tmp_path: Path) -> None:
    metadata: list[dict[str, Any]] = [
        {"parent_asin": "i1", "title": "short"},
        {"parent_asin": "i1", "title": "the longer one", "images": [{"thumb": "http://h/t"}]},
        {"parent_asin": "i1", "store": "B"},
        {"parent_asin": "never reviewed", "title": "x"},
    ]
    path = write(tmp_path / "meta.json", metadata)
    found = ingest(configure(tmp_path, [review(*pair) for pair in SQUARE], metadata=(path,)))
    merged = Item(title="the longer one", brand="B", image_urls=("http://h/t",))
    assert found.items == [merged, Item()]
    assert found.statistics["metadata"] == {
        "files": 1,
        "lines": 4,
        "generations": {"2023": 4},
        "quarantined": {},
        "unusable_fields": {},
        "duplicates": 2,
        "never_reviewed": 1,
    }
    assert found.statistics["items_with"] == {
        "title": 1,
        "description": 0,
        "text": 1,
        "image_address": 1,
        "image_name": 0,
    }


def test_the_quarantine_is_sorted_by_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a_meta.json", [{"parent_asin": "i1"}, {}, {}])
    config = configure(tmp_path, [review(*pair) for pair in SQUARE], metadata=(path,))
    with config.reviews[0].open("a") as file:
        file.write("{broken\n")
    found = ingest(config.model_copy(update={"max_bad_share": 0.9}))
    places = [(bad.file, bad.line) for bad in found.quarantine]
    assert places == [("a_meta.json", 2), ("a_meta.json", 3), ("reviews.json", 5)]


def test_generations_compressions_and_orders_mix(tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    folder.mkdir()
    old = {"reviewerID": "u1", "overall": 5.0, "unixReviewTime": START // 1000}
    first = "".join(json.dumps({**old, "asin": asin}) + "\r\n" for asin in ("i1", "i3"))
    second = "\ufeff" + "".join(json.dumps(review("u2", asin)) + "\n" for asin in ("i1", "i3"))
    (folder / "a.json").write_bytes(gzip.compress(first.encode()))
    (folder / "b.json.gz").write_bytes(zstandard.compress(second.encode()))
    found = ingest(IngestConfig(reviews=(folder,), k=2))
    assert found.statistics["reviews"]["generations"] == {"2014": 2, "2023": 2}
    assert found.interactions.timestamp.tolist() == [START, START, START + 1, START + 1]
    (folder / "a.json").rename(folder / "z.json")
    assert ingest(IngestConfig(reviews=(folder,), k=2)).statistics == found.statistics


def test_the_stage_writes_the_contracts_tables_and_the_same_bytes_twice(tmp_path: Path) -> None:
    dump = [review(*pair, time=None if pair == SQUARE[0] else 1) for pair in SQUARE]
    config = configure(tmp_path, dump, max_bad_share=0.5)
    with config.reviews[0].open("a") as file:
        file.write("{broken\n")
    written = []
    for name in ("one", "two"):
        out = tmp_path / name
        out.mkdir()
        run(StageContext(PipelineConfig(ingest=config), {}, out, tmp_path))
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
    schemas = {
        "interactions": columns.INTERACTIONS,
        "users": columns.USERS,
        "items": columns.ITEMS,
        "quarantine": columns.QUARANTINE,
    }
    tables = {name: pq.read_table(tmp_path / "one" / f"{name}.parquet") for name in schemas}
    for name, schema in schemas.items():
        assert tables[name].schema.equals(schema)
    assert tables["interactions"]["timestamp"].to_pylist() == [
        START + 1,
        START + 1,
        None,
        START + 1,
    ]
    assert tables["quarantine"].to_pylist() == [
        {"file": "reviews.json", "line": 5, "reason": "not JSON", "content": "{broken"}
    ]
    assert set(written[0]) == {*(f"{name}.parquet" for name in schemas), "statistics.json"}
    assert str(tmp_path).encode() not in b"".join(written[0].values())
    assert json.loads(written[0]["statistics.json"])["time"]["unknown"] == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"k": 5},
            r"ingest\.k: nothing is left of 4 interactions of 2 users with 2 items after the "
            r"5-core; set ingest\.k=2 or lower",
        ),
        ({"k": 10**9}, r"set ingest\.k=2 or lower"),
        ({"min_rating": 6}, r"lower ingest\.min_rating"),
        ({"reviews": ()}, r"set ingest\.reviews=PATH"),
    ],
)
def test_what_leaves_nothing_says_what_to_change(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    config = configure(tmp_path, [review(*pair) for pair in SQUARE])
    with pytest.raises(UserError, match=message):
        ingest(config.model_copy(update=fields))


@given(st.permutations([*SQUARE, ("u3", "i1"), ("u1", "i1"), ("u4", "i9")]))
def test_the_order_of_the_lines_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    dump = [review(*pair, time=None) for pair in pairs]
    found = ingest(configure(tmp_path_factory.getbasetemp(), dump))
    assert (found.user_ids, found.asins) == (["u1", "u2"], ["i1", "i3"])
    assert found.interactions.item.tolist() == [0, 1, 0, 1]


def test_what_the_core_leaves_out_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [review(*pair) for pair in [*SQUARE, ("u3", "i1"), ("u1", "i9")]]
    config = PipelineConfig(name="x", ingest=configure(tmp_path, rows))
    with caplog.at_level("INFO"):
        run(StageContext(config, {}, tmp_path, tmp_path))
    counts = "2 of 6 interactions, 1 of 3 users, 1 of 3 items"
    assert f"ingest: the 2-core (ingest.k) leaves out {counts}" in caplog.text
