"""The ready-made benchmark layout: taken as it is, or refused with file and line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from benchmark_layout import ITEMS, ROWS, USERS, write_layout, write_neighbours
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brmrs import columns
from brmrs.columns import TEXT, VISUAL
from brmrs.config.data import IngestConfig
from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest.dataset import Given
from brmrs.ingest.interactions import NO_TIME
from brmrs.ingest.stage import Ingested, ingest
from brmrs.stages import ITEMS as ITEM_TABLE
from brmrs.stages import STATISTICS, needed
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record
from brmrs.system.files import read_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "tiny")


def read(folder: Path) -> Ingested:
    return ingest(IngestConfig(format="ready-made", path=folder))


def given_by(folder: Path) -> Given:
    found = read(folder).given
    assert found is not None
    return found


def labels_of(given: Given) -> NDArray[np.int8]:
    assert given.labels is not None
    return given.labels


def rewrite(folder: Path, header: str, *lines: str) -> None:
    (folder / "tiny.inter").write_text("\n".join([header.replace(" ", "\t"), *lines]) + "\n")


def test_rows_ids_and_labels_stay_as_they_are(folder: Path) -> None:
    ingested, labels = read(folder), labels_of(given_by(folder)).tolist()
    found = ingested.interactions
    rows = zip(found.user.tolist(), found.item.tolist(), labels, strict=True)
    assert list(rows) == sorted(ROWS)
    assert ingested.asins == [f"Z{ITEMS - item}" for item in range(ITEMS)]
    assert ingested.user_ids == ["0", "1", "2"]
    assert np.isnan(found.rating).all()
    assert (found.timestamp == NO_TIME).all()


def test_names_of_users_and_windows_line_ends_and_a_bom(folder: Path) -> None:
    (folder / "u_id_mapping.csv").write_bytes(
        b"\xef\xbb\xbfuser_id\tuserID\r\nb\t1\r\na\t0\r\nc\t2\r\n"
    )
    assert read(folder).user_ids == ["a", "b", "c"]


def test_a_user_or_item_without_rows_keeps_its_id(folder: Path) -> None:
    (folder / "u_id_mapping.csv").write_text("user_id,userID\na,0\nb,1\nc,2\nsilent,3\n")
    found = read(folder)
    assert found.user_ids[3] == "silent"
    assert len(found.asins) == ITEMS > found.interactions.item.max() + 1


@pytest.mark.parametrize(("stamp", "ms"), [("1400000000", 1_400_000_000_000), ("", NO_TIME)])
def test_ratings_and_times(folder: Path, stamp: str, ms: int) -> None:
    header = "userID itemID rating timestamp x_label"
    lines = [f"0\t0\t4.5\t{stamp}\t0", f"0\t1\t\t{stamp}\t1", f"1\t1\t3\t{stamp}\t2"]
    rewrite(folder, header, *lines)
    found = read(folder).interactions
    assert found.timestamp.tolist() == [ms] * 3
    assert found.rating[[0, 2]].tolist() == [4.5, 3.0]
    assert np.isnan(found.rating[1])


def test_times_in_milliseconds(folder: Path) -> None:
    header = "userID itemID timestamp x_label"
    rewrite(folder, header, *(f"0\t{item}\t1400000000000\t{item}" for item in range(3)))
    assert read(folder).interactions.timestamp.tolist() == [1_400_000_000_000] * 3


def test_features_and_neighbours(folder: Path) -> None:
    found = given_by(folder)
    assert {name: array.dtype.name for name, array in found.features.items()} == {
        TEXT: "float32",
        VISUAL: "float32",
    }
    # The self loop is gone, and what is no number is 1.
    edges = found.neighbours[TEXT]
    assert edges.schema.equals(columns.EDGES)
    assert [tuple(row.values()) for row in edges.to_pylist()] == [(0, 3, 0.5), (3, 4, 1.0)]


def test_other_spellings_of_the_tables(folder: Path) -> None:
    names = {"0": "train", "1": "Valid", "2": "2.0"}
    rows = [f'"{user}";{item}; {names[str(label)]}' for user, item, label in ROWS]
    (folder / "tiny.inter").write_text(
        "\n".join(["user_id:token;item_id:token;x_label", *rows, "", " "])
    )
    ids = [f'"Z, {item}"\t {item}\n' for item in range(ITEMS)]
    (folder / "i_id_mapping.csv").write_text('"asin"\titemID\n' + "".join(ids) + "\n\n")
    (folder / "text_feat.npy").rename(folder / "t_feat.npy")
    (folder / "image_feat.npy").rename(folder / "v_feat.npy")
    found = read(folder)
    assert found.given is not None
    labels = labels_of(found.given).tolist()
    columns = (found.interactions.user.tolist(), found.interactions.item.tolist(), labels)
    assert list(zip(*columns, strict=True)) == sorted(ROWS)
    assert found.asins == [f"Z, {item}" for item in range(ITEMS)]
    assert found.given.features.keys() == {TEXT, VISUAL}


def test_files_that_are_not_read_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(folder / "text_feat.npz", vectors=np.zeros((ITEMS, 2)))
    read(folder)
    assert "not read: text_feat.npz; the layout has one array of a row for each item" in caplog.text


def test_features_and_neighbours_are_optional(folder: Path) -> None:
    for path in [*folder.glob("*.npy"), *folder.glob("*.parquet")]:
        path.unlink()
    found = given_by(folder)
    assert found.features == {}
    assert found.neighbours == {}


def test_baby_has_the_sizes_of_the_literature(shared_data: Path) -> None:
    found = read(shared_data / "benchmarks" / "baby")
    assert (len(found.user_ids), len(found.asins)) == (19_445, 7_050)
    assert found.given is not None
    assert np.bincount(labels_of(found.given)).tolist() == [118_551, 20_559, 21_682]
    assert found.asins[0] == "097293751X"


def line(text: str, number: int = 4) -> Callable[[Path], None]:
    """Replace one line of the interactions."""

    def change(folder: Path) -> None:
        path = folder / "tiny.inter"
        lines = path.read_text().splitlines()
        lines[number - 1] = text
        path.write_text("\n".join(lines) + "\n")

    return change


def array(value: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "text_feat.npy", value, allow_pickle=True)


def neighbours(*rows: tuple[int, int, float]) -> Callable[[Path], None]:
    return lambda folder: write_neighbours(folder, "text", list(rows))


def content(name: str, value: str | bytes) -> Callable[[Path], None]:
    raw = value.encode() if isinstance(value, str) else value

    def change(folder: Path) -> None:
        (folder / name).write_bytes(raw)

    return change


def copy(name: str, other: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / other).write_bytes((folder / name).read_bytes())

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (line("0\t5\t1"), r"tiny\.inter, line 4: itemID is not a whole number within 0 to 4"),
        (line("0\t-1\t1"), r"line 4: itemID"),
        (line("0\t1.0\t1"), r"line 4: itemID"),
        (line("x\t1\t1"), r"line 4: userID"),
        (line("99999999999999999999\t1\t1"), r"line 4: userID"),
        (line("2000000000\t1\t1"), r"line 4: userID is too large"),
        (line("0\t1\t3"), r"line 4: x_label is none of 0, 0\.0, 1, .*, train, validation, test"),
        (line("0\t1\t"), r"line 4: x_label"),
        (line("0\t1"), r"line 4: 2 columns instead of 3"),
        (line(""), r"line 4: userID"),
        (line("0\t1\t1\t1"), r"line 4: 4 columns instead of 3"),
        (line("2\t1\t1"), r"line 4: the pair of userID and itemID occurs twice"),
        (line("user\titem\tx_label", 1), r"line 1: expected the columns userID, itemID, x_label"),
        (line("userID\titemID\titemID\tx_label", 1), r"line 1: expected"),
        (content("tiny.inter", ""), r"tiny\.inter, line 1: expected"),
        (content("tiny.inter", "userID\titemID\tx_label\n"), r"tiny\.inter: no rows"),
        (content("tiny.inter", "userID\titemID\tx_label\n0\t0\t0\n"), r"no row has x_label 1"),
        (
            content("tiny.inter", b"userID\titemID\tx_label\n0\t\xff\t0\n"),
            r"tiny\.inter, line 2: not UTF-8",
        ),
        (content("tiny.inter", b"\x80\x81\x82"), r"tiny\.inter, line 1: not UTF-8"),
        (content("other.inter", "x"), r"2 files \*\.inter"),
        (without("tiny.inter"), r"0 files \*\.inter"),
        (without("i_id_mapping.csv"), r"no i_id_mapping\.csv"),
        (content("i_id_mapping.csv", "asin,itemID\na,0\nb,2\n"), r"mapping\.csv, line 3: itemID"),
        (content("i_id_mapping.csv", "asin,itemID\na,0\nb,0\n"), r"line 3: itemID occurs twice"),
        (content("i_id_mapping.csv", "asin,itemID\na,0\na,1\n"), r"line 3: asin occurs twice"),
        (content("i_id_mapping.csv", "asin,itemID\n,0\n"), r"line 2: asin is empty"),
        (content("i_id_mapping.csv", "itemID\n0\n"), r"expected itemID and one more column"),
        (content("u_id_mapping.csv", "user_id,userID\na,0\n"), r"tiny\.inter, line 2: userID"),
        (array(np.zeros((ITEMS - 1, 3))), r"text_feat\.npy: shape \(4, 3\), expected \(5, d\)"),
        (array(np.zeros((ITEMS, 0))), r"text_feat\.npy: shape"),
        (array(np.zeros(ITEMS)), r"text_feat\.npy: shape"),
        (array(np.full((ITEMS, 2), np.nan)), r"row 0: not all numbers are finite"),
        (array(np.full((ITEMS, 2), 1e300)), r"row 0: not all numbers are finite"),
        (array(np.array([["a"]] * ITEMS)), r"no NumPy array of numbers"),
        (array(np.array([[{}]] * ITEMS, dtype=object)), r"no NumPy array of numbers"),
        (content("text_feat.npy", b"junk"), r"text_feat\.npy: no NumPy array"),
        (content("text_feat.npy", b""), r"text_feat\.npy: no NumPy array"),
        (content("knn_text.parquet", b"junk"), r"knn_text\.parquet: expected a Parquet file"),
        (neighbours((0, ITEMS, 0.5)), r"knn_text\.parquet: row 0: neighbour is not within 0 to 4"),
        (copy("text_feat.npy", "t_feat.npy"), r"t_feat\.npy: text_feat\.npy holds the same"),
        (
            content("tiny.inter", "userID\titemID\tx_label\n0\t0\ttrain\n0\t1\ttest\n"),
            r"no row has x_label 1 \(validation\); the layout needs rows of train, validation",
        ),
        (neighbours((0, 1, 0.5), (-1, 0, 0.5)), r"row 1: item is not within"),
        (neighbours((0, 1, 1.5)), r"row 0: cosine is not within -1 to 1"),
        (neighbours((0, 1, 0.5), (0, 1, 0.5)), r"row 1: the pair occurs twice"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_line(
    folder: Path, change: Callable[[Path], None], message: str
) -> None:
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_a_table_of_another_shape_is_refused(folder: Path) -> None:
    pq.write_table(
        pq.read_table(folder / "knn_text.parquet").rename_columns(list("abc")),
        folder / "knn_text.parquet",
    )
    with pytest.raises(UserError, match=r"expected a Parquet file with item, neighbour, cosine"):
        read(folder)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["tiny.inter", "i_id_mapping.csv", "text_feat.npy", "knn_text.parquet"]),
    st.data(),
)
def test_no_mutation_crashes(folder: Path, name: str, data: st.DataObject) -> None:
    path = folder / name
    original = path.read_bytes()
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(mutated)
    try:
        read(folder)
    except UserError as error:
        assert name in str(error)
    finally:
        path.write_bytes(original)


def pipeline(folder: Path, **sections: object) -> PipelineConfig:
    values = {
        "ingest": {"format": "ready-made", "path": folder},
        "split": {"protocol": "given"},
        "features": {
            "text": {"model": "imported", "label": "surrogate text"},
            "visual": {"backbone": "imported"},
        },
        "images": {"fetch": False},
        "graphs": {"modality": "knn", "k": 2, "user_k": 2},
        "model": "lightgcn",
        "train": {"epochs": 1},
        **sections,
    }
    return parse(values, "test")


def run(config: PipelineConfig, until: str, root: Path) -> dict[str, Path]:
    store = ArtifactStore(root)
    records: dict[str, Record] = {}
    for stage in needed(config, until):
        upstream = {name: records[name].artifact for name in stage.upstream}
        records[stage.name] = execute(stage, config, fingerprint(config), upstream, store, "test")
    return {name: store.path(record.artifact) for name, record in records.items()}


def test_every_stage_runs_on_it(folder: Path, tmp_path: Path) -> None:
    found = run(pipeline(folder), "graphs,publish", tmp_path / "store")
    table = pq.read_table(found["split"] / "interactions.parquet").to_pydict()
    rows = list(zip(table[columns.USER], table[columns.ITEM], table[columns.SPLIT], strict=True))
    assert rows == sorted(ROWS)
    assert table[columns.RATING] == table[columns.TIMESTAMP] == [None] * len(ROWS)
    meta = read_json(found["text_features"] / "meta.json")
    assert (meta["label"], meta["present"], meta["dimension"]) == ("surrogate text", ITEMS - 1, 3)
    meta = read_json(found["visual_features"] / "meta.json")
    assert meta["label"] == "imported visual features (3-d)"
    items = pq.read_table(found["ingest"] / Path(ITEM_TABLE).name)
    assert items[columns.ASIN].to_pylist()[0] == f"Z{ITEMS}"
    statistics = read_json(found["ingest"] / Path(STATISTICS).name)
    assert (statistics["ratings"], statistics["users"], statistics["items"]) == ({}, USERS, 4)
    graph = pq.read_table(found["graphs"] / "item.parquet").to_pydict()
    edges = zip(graph[columns.ROW], graph[columns.COLUMN], graph[columns.WEIGHT], strict=True)
    # Items 3 and 4: cosine 1 in both modalities, no user in common; alpha is .5.
    assert (3, 4, 0.5) in list(edges)


def test_the_same_files_elsewhere_are_the_same_data(folder: Path, tmp_path: Path) -> None:
    twin = write_layout(tmp_path / "twin")
    config = pipeline(folder)
    assert fingerprint(config)["path"] == fingerprint(pipeline(twin))["path"]
    (twin / "notes.txt").write_text("not of the layout")
    assert fingerprint(config)["path"] == fingerprint(pipeline(twin))["path"]
    line("0\t4\t1")(twin)
    assert fingerprint(config)["path"] != fingerprint(pipeline(twin))["path"]


@pytest.mark.parametrize(
    ("until", "sections", "message"),
    [
        ("ingest", {"ingest": {"format": "ready-made"}}, r"set ingest\.path=PATH"),
        ("ingest", {"ingest": {"format": "ready-made", "path": "gone"}}, r"ingest\.path: gone"),
    ],
)
def test_a_missing_folder(
    tmp_path: Path, until: str, sections: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(pipeline(tmp_path, **sections), until, tmp_path / "store")


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("split", r"split\.protocol: given needs data that include a split"),
        ("text_features", r"features\.text: imported needs a ready-made data set"),
        ("visual_features", r"features\.visual: imported needs a ready-made data set"),
    ],
)
def test_a_raw_dump_brings_nothing_along(
    small_sample: Path, tmp_path: Path, until: str, message: str
) -> None:
    reviews = {"reviews": small_sample / "reviews.jsonl.gz", "max_bad_share": 0.1}
    with pytest.raises(UserError, match=message):
        run(pipeline(tmp_path, ingest=reviews), until, tmp_path / "store")


def test_graphs_without_a_knn_table(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("knn_*"):
        path.unlink()
    with pytest.raises(UserError, match=r"graphs\.modality: knn needs the kNN tables"):
        run(pipeline(folder), "graphs", tmp_path / "store")


@pytest.mark.parametrize(
    "features", [{"text": {"label": "x"}}, {"visual": {"label": "x", "backbone": "vgg16"}}]
)
def test_a_label_cannot_hide_a_model(features: dict[str, object]) -> None:
    with pytest.raises(UserError, match="label names imported vectors"):
        parse({"features": features}, "test")
