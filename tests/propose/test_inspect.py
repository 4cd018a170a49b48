"""What `brmrs inspect` finds out about files before anything is configured."""

import gzip
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from benchmark_layout import write_layout
from hypothesis import given
from hypothesis import strategies as st

from brmrs.errors import UserError
from brmrs.ingest.kcore import core_sizes, k_core
from brmrs.propose.inspect import inspect


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def review(user: int, item: int, rating: float = 5.0) -> dict[str, object]:
    row = {"reviewerID": f"u{user}", "asin": f"i{item}", "overall": rating}
    return {**row, "unixReviewTime": 1_400_000_000 + user}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Names say nothing here: the reviews lie in what is called metadata."""
    square = [review(*pair) for pair in product(range(3), range(3))]
    write(tmp_path / "meta_A.json", "broken {", *square, review(9, 0, 1.0), review(9, 0, 9.0))
    rows = [
        {"asin": "i0", "title": "A", "imUrl": "http://x/a.jpg"},
        {"asin": "i0", "description": "longer"},
        {"asin": "never reviewed", "title": "B"},
    ]
    write(tmp_path / "reviews_A.json", *rows)
    return tmp_path


@pytest.mark.parametrize("name", ["brmrs.yaml", "mine.yml"])
def test_a_configuration_is_no_data(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("name: shop\n")
    with pytest.raises(UserError, match=f"{name}: a configuration; name the files or the folder"):
        inspect([tmp_path / name])


def test_a_folder_of_reviews_and_metadata(folder: Path) -> None:
    found = inspect([folder])
    assert (found["users"], found["items"], found["interactions"]) == (4, 3, 10)
    assert found["reviews"]["generations"] == {"2014": 10}
    assert found["reviews"]["lines"] == 12
    assert found["reviews"]["quarantined"] == {"not JSON": 1, "rating is not within 1 to 5": 1}
    assert found["ratings"] == {"1": 1, "5": 9}
    assert found["time"]["first"] == 1_400_000_000_000
    assert found["sparsity"] == pytest.approx(1 - 10 / 12)
    assert found["items_with"] == {
        "title": 1,
        "description": 1,
        "text": 1,
        "image_address": 1,
        "image_name": 0,
    }
    sizes = {core["k"]: core["interactions"] for core in found["cores"]}
    assert list(sizes) == list(range(2, 11))
    assert [sizes[k] for k in (2, 3, 4)] == [9, 9, 0]


def configured(folder: Path, text: str) -> list[str]:
    """The notes on data with this configuration beside them."""
    (folder / "brmrs.yaml").write_text(text)
    notes: list[str] = inspect([folder])["notes"]
    assert notes == inspect([folder / "meta_A.json", folder / "reviews_A.json"])["notes"]
    return notes


def test_the_notes_follow_the_configuration(folder: Path) -> None:
    low, split = inspect([folder])["notes"]
    assert low.startswith("every rating counts as a positive: 1 (10.0%) have 2 stars or fewer")
    assert split.startswith("the split is random by default")
    settings = "split: {protocol: leave-last-out}\ningest: {min_rating: 3}\n"
    assert configured(folder, settings) == [
        f"these notes follow {folder / 'brmrs.yaml'}: split.protocol=leave-last-out, "
        "ingest.min_rating=3"
    ]
    _, low, split = configured(folder, "split: {protocol: random}\ningest: {min_rating: 1}\n")
    assert low.startswith("every rating from 1 on counts as a positive: 1 (10.0%)")
    assert split.startswith("the split is random, so")


def test_a_configuration_that_came_with_the_data_executes_nothing(folder: Path) -> None:
    (folder / "plugin.py").write_text("raise SystemExit('executed')")
    text = "plugins: plugin.py\nmodel: of_the_plugin\nsplit: {protocol: time}\n"
    (note, low) = configured(folder, text)
    assert "split.protocol=time" in note
    assert low.startswith("every rating counts")


def test_a_wrong_configuration_is_reported_and_not_used(folder: Path) -> None:
    fault, _, split = configured(folder, "split: {protocol: tiem}\n")
    assert fault.startswith(f"not used: {folder / 'brmrs.yaml'}: split.protocol = 'tiem': must be")
    assert split.startswith("the split is random by default")


def test_the_configured_columns_and_pictures_are_read(tmp_path: Path) -> None:
    data = tmp_path / "shop"
    (data / "else").mkdir(parents=True)
    (data / "else" / "a.jpg").write_bytes(b"a picture")
    write(data / "orders.csv", "customer,product,colour", "u,a,red", "u,b,red", "v,a,red")
    write(data / "things.csv", "product_id,name,colour,image", "a,A,red,a.jpg", "b,B,blue,b.jpg")
    assert inspect([data])["metadata"]["not_read"] == {"things.csv": ["colour"]}
    settings = "ingest: {format: table, interactions: orders.csv, items: things.csv, "
    settings += "columns: {text: [colour]}}\nimages: {folder: pictures}\n"
    (data / "brmrs.yaml").write_text(settings)
    found = inspect([data])
    assert "not_read" not in found["metadata"]
    assert found["metadata"]["columns"]["things.csv"]["text"] == "colour"
    assert found["notes"][-1] == (
        f"2 items name pictures, such as a.jpg; {data / 'pictures'} has no picture files: put them "
        "there"
    )
    (data / "brmrs.yaml").write_text(settings.replace("pictures}", "else}"))
    assert inspect([data])["items_with"]["picture"] == 1


def test_metadata_alone(folder: Path) -> None:
    found = inspect([folder / "reviews_A.json"])
    assert "reviews" not in found
    assert found["items"] == 2
    assert found["items_with"] == {
        "title": 2,
        "description": 1,
        "text": 2,
        "image_address": 1,
        "image_name": 0,
    }
    assert found["metadata"]["duplicates"] == 1


def test_metadata_alone_counts_as_a_whole_dump_does(folder: Path) -> None:
    """Names of pictures are no addresses; the fields are those of every other inspection."""
    write(folder / "reviews_A.json", {"asin": "i0", "title": "A", "imUrl": "a.jpg"})
    found = inspect([folder / "reviews_A.json"])["items_with"]
    assert list(found) == list(inspect([folder])["items_with"])
    assert found["image_address"] == 0


def test_reviews_alone(folder: Path) -> None:
    found = inspect([folder / "meta_A.json"])
    assert found["metadata"]["lines"] == 0
    assert found["items_with"]["text"] == 0


def test_a_benchmark(tmp_path: Path) -> None:
    found = inspect([write_layout(tmp_path / "tiny")])
    assert found["split"] == {"train": 4, "validation": 2, "test": 2}
    assert found["reviews"]["generations"] == {"ready-made": 8}


def test_what_is_there_of_a_file_that_is_cut_off(tmp_path: Path) -> None:
    rows = [json.dumps({**review(user, 0), "text": f"{user**9:x}"}) for user in range(2000)]
    path = tmp_path / "cut.json.gz"
    path.write_bytes(gzip.compress("\n".join(rows).encode())[:-2000])
    found = inspect([path])
    assert 0 < found["users"] < 2000
    assert any("cut off" in reason for reason in found["reviews"]["quarantined"])


def test_gift_cards(shared_data: Path) -> None:
    found = inspect([shared_data / "raw" / "gift_cards_2018"])
    assert (found["users"], found["items"]) == (458, 148)
    assert found["items_with"]["image_address"] == 116
    five = found["cores"][3]
    assert five == {"k": 5, "users": 453, "items": 147, "interactions": 2941}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.json", None, r"gone\.json: no such file"),
        ("empty.json", "", r"empty\.json: the file is empty"),
        ("page.json", "<html></html>\n", r"page\.json: not a dump"),
        ("list.json", "[1, 2]\n", r"list\.json: not a dump"),
    ],
)
def test_what_is_no_dump(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        inspect([path])


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_core_sizes_are_those_of_each_core(pairs: set[tuple[int, int]]) -> None:
    user, item = np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2).T
    for core in core_sizes([(user, item)]):
        rows = k_core(user, item, core["k"])
        assert core["interactions"] == len(rows)
        assert core["users"] == len(set(user[rows].tolist()))
        assert core["items"] == len(set(item[rows].tolist()))
