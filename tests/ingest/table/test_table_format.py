"""The format `table`: own interactions and items in any kind of file."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shop import BAD_ORDERS, write_shop

from brmrs.config.data import IngestConfig
from brmrs.config.load import parse
from brmrs.errors import UserError
from brmrs.ingest import formats
from brmrs.ingest.stage import Ingested, ingest
from brmrs.propose.inspect import inspect

NO_TIME = "time is no number or ISO date since 1970 (see ingest.columns.time_format)"
ROWS = [
    {"user": "007", "item": "é", "rating": "5", "time": "1704164645"},
    {"user": "7", "item": "b/../c", "rating": "3.5", "time": "1704251045000"},
    {"user": "7", "item": "é", "rating": "", "time": ""},
]


def read(path: Path, **settings: Any) -> Ingested:
    values = {"format": "table", "interactions": path, "k": 0, "max_bad_share": 0.9, **settings}
    return ingest(IngestConfig.model_validate(values))


def triples(found: Ingested) -> list[tuple[str, str, float | None, int]]:
    table = found.interactions
    return [
        (found.user_ids[u], found.asins[i], None if np.isnan(r) else float(r), int(t))
        for u, i, r, t in zip(table.user, table.item, table.rating, table.timestamp, strict=True)
    ]


EXPECTED = [
    ("007", "é", 5.0, 1704164645000),
    ("7", "b/../c", 3.5, 1704251045000),
    ("7", "é", None, -1),
]


def write(path: Path, kind: str) -> Path:
    if kind == "parquet":
        pl.DataFrame(ROWS).write_parquet(path)
        return path
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        return path
    separator = {"csv": ",", "tsv": "\t", "semicolon": ";", "bar": "|"}[kind]
    lines = [separator.join(ROWS[0]), *(separator.join(row.values()) for row in ROWS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolon", "bar", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_interactions(tmp_path: Path, kind: str) -> None:
    found = read(write(tmp_path / f"orders.{kind}", kind))
    assert triples(found) == EXPECTED
    assert found.statistics["reviews"]["columns"] == {
        f"orders.{kind}": {name: f"{name} (guessed)" for name in ("user", "item", "rating", "time")}
    }


@pytest.mark.parametrize("change", ["bom", "crlf", "gzip", "quotes", "blank lines"])
def test_harmless_differences(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "orders.csv", "csv")
    content = path.read_bytes()
    changed = {
        "bom": b"\xef\xbb\xbf" + content,
        "crlf": content.replace(b"\n", b"\r\n"),
        "gzip": gzip.compress(content),
        "quotes": content.replace(b"007", b'"007"'),
        "blank lines": b"\n" + content.replace(b"\n", b"\n\n"),
    }[change]
    path.write_bytes(changed)
    assert triples(read(path)) == EXPECTED


def test_ids_of_numbers_keep_their_digits(tmp_path: Path) -> None:
    """Pandas writes whole numbers as floats once one is missing."""
    path = tmp_path / "orders.parquet"
    frame = pl.DataFrame({"user_id": [1.0, 2.0, None], "item_id": [10**17, 2, 3]})
    frame.write_parquet(path)
    found = read(path)
    assert (found.user_ids, found.asins) == (["1", "2"], [str(10**17), "2"])
    assert [bad[1:3] for bad in found.quarantine] == [(3, "no user id")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1704164645", 1704164645000),
        ("1704164645.5", 1704164645500),
        ("1704164645123", 1704164645123),
        ("1704164645123456", 1704164645123),
        ("1704164645123456789", 1704164645123),
        ("20240102", 1704153600000),
        ("2024-01-02", 1704153600000),
        ("2024/1/2", 1704153600000),
        ("2024-01-02 03:04", 1704164640000),
        ("2024-01-02T03:04:05Z", 1704164645000),
        ("2024-01-02T03:04:05.250", 1704164645250),
        ("2024-01-02T05:04:05+02:00", 1704164645000),
        ("2024-01-01T22:04:05-0500", 1704164645000),
        ("", -1),
        ("NaN", -1),
    ],
)
def test_times(tmp_path: Path, text: str, expected: int) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"user,item,time\nu,i,{text}\n")
    assert triples(read(path))[0][3] == expected


def test_times_of_a_configured_form(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("user,item,when\nu,i,31/01/2024 14:05\nu,j,2024-01-31\n")
    columns = {"time": "when", "time_format": "%d/%m/%Y %H:%M"}
    found = read(path, columns=columns)
    assert triples(found) == [("u", "i", None, 1706709900000)]
    assert found.quarantine[0].reason == "time is not of the form %d/%m/%Y %H:%M"


def test_parquet_times_are_read_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    moments = pl.Series(["2024-01-02T05:04:05+02:00"]).str.to_datetime(time_zone="Europe/Berlin")
    pl.DataFrame({"user": ["u"], "item": ["i"], "date": moments}).write_parquet(path)
    assert triples(read(path))[0][3] == 1704164645000


BAD = [
    (b",i,1,\n", "no user id"),
    (b"nan,i,1,\n", "no user id"),
    (b"u,None,1,\n", "no item id"),
    (b"u,i,good,\n", "rating is not a number"),
    (b"u,i,inf,\n", "rating is not a number"),
    (b"u,i,1,soon\n", NO_TIME),
    (b"u,i,1,-5\n", NO_TIME),
    (b"u,i,1,2024-02-31\n", NO_TIME),
    (b"u,i,1\n", "not 4 values"),
    (b"u,i,1,,\n", "not 4 values"),
    (b"u,\xff,1,\n", "not UTF-8"),
    (b"u,\x00,1,\n", "item id is not printable"),
    ("u,a\u202eb,1,\n".encode(), "item id is not printable"),
    (b"u," + b"x" * 257 + b",1,\n", "item id longer than 256 characters"),
    (b'u,"i,1,\n', "no row of CSV: unexpected end of data"),
    (b'u,"i"x,1,\n', "no row of CSV: ',' expected after '\"'"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_bad_rows_are_quarantined_with_their_line(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"user,item,rating,time\nu,a,1,\n" + line + b"u,b,2,\n")
    found = read(path)
    assert [row[:2] for row in triples(found)] == [("u", "a"), ("u", "b")]
    (bad,) = found.quarantine
    assert (bad.file, bad.line, bad.reason) == ("orders.csv", 3, reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [("{", "not JSON"), ("[1]", "not an object"), ('{"user": "u"}', "no item id")],
)
def test_bad_lines_of_json(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text(f'{{"user": 1, "item": 7}}\n\n{line}\n')
    found = read(path)
    assert triples(found) == [("1", "7", None, -1)]
    assert [bad[1:3] for bad in found.quarantine] == [(3, reason)]


def test_a_missing_column_is_named_with_those_there(tmp_path: Path) -> None:
    path = write(tmp_path / "orders.csv", "csv")
    message = r"ingest\.columns\.user: no column 'buyer' in .*orders\.csv; its columns are user, i"
    with pytest.raises(UserError, match=message):
        read(path, columns={"user": "buyer"})


def test_columns_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("a,b,c,rating\nu,i,4,9\n")
    found = read(path, columns={"user": "a", "item": "b", "rating": "c"})
    assert triples(found) == [("u", "i", 4.0, -1)]
    assert found.statistics["reviews"]["not_read"] == {"orders.csv": ["rating"]}
    found = read(path, columns={"user": "a", "item": "b", "rating": ""})
    assert triples(found) == [("u", "i", None, -1)]


def test_a_huge_field_is_read(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text('item,description\ni,"' + "word " * 100_000 + '"\n')
    orders = write(tmp_path / "orders.csv", "csv")
    path.write_text(path.read_text().replace("i,", "é,"), encoding="utf-8")
    (item, *_) = [i for i in read(orders, items=path).items if i.description]
    assert len(item.description) > 10_000


def test_a_row_over_several_lines_keeps_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text('user,item,note\nu,i,"a\nb\nc"\n,i,x\n')
    found = read(path)
    assert len(found.interactions) == 1
    assert [bad.line for bad in found.quarantine] == [5]


def test_items_with_texts_lists_and_pictures(tmp_path: Path) -> None:
    orders = write(tmp_path / "orders.csv", "csv")
    rows: list[dict[str, Any]] = [
        {
            "id": "é",
            "name": "<b>Mug</b> &amp; more",
            "maker": "Acme",
            "categories": ["Home", "Mugs"],
            "details": "red",
            "story": "many words that describe it well",
            "images": ["a.jpg", "http://x.org/b.jpg", "file:///etc/passwd"],
        },
        {"id": 7, "name": None, "categories": "A | B > C", "images": "//x.org/c.jpg"},
    ]
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read(orders, items=path)
    item = found.items[found.asins.index("é")]
    assert (item.title, item.brand, item.categories) == ("Mug & more", "Acme", ("Home", "Mugs"))
    assert item.description == "red many words that describe it well"
    assert item.image_urls == ("a.jpg", "http://x.org/b.jpg")
    assert found.statistics["metadata"]["never_reviewed"] == 1
    assert found.statistics["items_with"]["image_name"] == 1


def test_parquet_of_lists_and_structs(tmp_path: Path) -> None:
    orders = write(tmp_path / "orders.csv", "csv")
    path = tmp_path / "items.parquet"
    frame = pl.DataFrame(
        {"item_id": ["é"], "title": ["T"], "categories": [["A", "B"]], "details": [{"x": 1}]}
    )
    frame.write_parquet(path)
    item = next(item for item in read(orders, items=path).items if item.title)
    assert (item.categories, item.description) == (("A", "B"), "")


def test_items_of_other_ids_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    orders = write(tmp_path / "orders.csv", "csv")
    (tmp_path / "items.csv").write_text("item,title\n1.0,T\n")
    read(orders, items=tmp_path / "items.csv")
    assert "tables of items describe 0 of 2 items" in caplog.text


def test_a_table_of_users_is_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    orders = write(tmp_path / "orders.csv", "csv")
    (tmp_path / "users.csv").write_text("id,age\n007,3\n8,4\n,5\n")
    found = read(orders, users=tmp_path / "users.csv")
    reviews = found.statistics["reviews"]
    assert (reviews["users_in_tables"], reviews["users_not_in_tables"]) == (2, 1)
    assert reviews["users_without_interactions"] == 1
    assert "1 of 2 users of the interactions are not in the tables: 7" in caplog.text


def test_recbole_atomic_files(tmp_path: Path) -> None:
    (tmp_path / "ml.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
    )
    (tmp_path / "ml.item").write_text(
        "item_id:token\tmovie_title:token_seq\tgenre:token_seq\n242\tKolya of Prague\tComedy War\n"
    )
    config = formats.sniff([tmp_path])
    found = ingest(config.model_copy(update={"k": 0}))
    assert triples(found) == [("196", "242", 3.0, 881250949000)]
    assert found.items[0].title == "Kolya of Prague"
    assert found.items[0].categories == ("Comedy", "War")


def official(folder: Path) -> Path:
    header = "user_id,parent_asin,rating,timestamp,history\n"
    parts = {
        "train": "u,a,5,1600000000000,\nu,b,4,1600000000001,a\nv,a,1,1600000000000,\n",
        "valid": "u,c,5,1600000000002,a b\nv,b,5,1600000000002,a\n",
        "test": "u,d,5,1600000000003,a b c\nu,a,5,1600000000009,\nv,c,5,1600000000003,a b\n",
    }
    for part, rows in parts.items():
        (folder / f"Toys.{part}.csv").write_text(header + rows)
    return folder


def test_the_official_splits_are_kept_as_given(tmp_path: Path) -> None:
    config = formats.sniff([official(tmp_path)])
    found = ingest(config)
    assert found.given is not None
    assert found.given.labels is not None
    rows = [
        (user, item, int(label))
        for (user, item, *_), label in zip(triples(found), found.given.labels, strict=True)
    ]
    expected = [("u", "a", 0), ("u", "b", 0), ("u", "c", 1), ("u", "d", 2)]
    assert rows == [*expected, ("v", "a", 0), ("v", "b", 1), ("v", "c", 2)]
    assert found.statistics["reviews"]["duplicates_across_splits"] == 1
    assert inspect([tmp_path])["split"] == {"train": 3, "validation": 2, "test": 2}


def test_a_part_of_the_split_is_missing(tmp_path: Path) -> None:
    (official(tmp_path) / "Toys.valid.csv").unlink()
    with pytest.raises(UserError, match="no file of the validation part beside"):
        read(tmp_path)


def test_a_k_core_of_a_given_split_would_have_no_effect(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ingest\.k would have no effect"):
        read(official(tmp_path), k=3)


def test_a_column_holds_the_split(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("user,item,split\nu,a,train\nu,b,VALID\nu,c,2\nu,d,later\n")
    found = read(path)
    assert found.given is not None
    assert found.given.labels is not None
    assert found.given.labels.tolist() == [0, 1, 2]
    assert found.quarantine[0].reason == "split is none of train, validation, test"


def test_the_shop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shop = write_shop(tmp_path / "shop")
    found = ingest(formats.sniff([shop]).model_copy(update={"max_bad_share": 0.1}))
    assert len(found.quarantine) == len(BAD_ORDERS)
    assert found.user_ids[0] == "00000"
    assert (len(found.user_ids), len(found.asins)) == (60, 32)
    item = found.items[0]
    assert item.categories == ("Home", "Décor")
    assert item.image_urls == ("pictures/mug-0.png",)
    assert '5" high' in item.description
    assert "orders.csv: user = customer_id (guessed), item = sku (guessed)" in caplog.text
    assert "not read: order_no, quantity" in caplog.text


def test_one_table_may_describe_the_items_too(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("customer,product,product_name\nu,i,Mug\nv,i,\n")
    config = formats.sniff([tmp_path])
    assert config.items == config.interactions
    assert ingest(config.model_copy(update={"k": 0})).items[0].title == "Mug"


def test_settings_of_other_formats_are_refused() -> None:
    with pytest.raises(UserError, match=r"columns would have no effect.*set format=table"):
        parse({"ingest": {"columns": {"user": "u"}}}, "test")
    with pytest.raises(UserError, match="reviews would have no effect"):
        parse({"ingest": {"format": "table", "reviews": "a.csv"}}, "test")


def test_tables_and_dump_of_the_same_data_agree(shared_data: Path, tmp_path: Path) -> None:
    """MovieLens 100K in the layout of 2023, rewritten as tables."""
    source = shared_data / "raw" / "ml100k_posters"
    names = {"ratings": "Movies.jsonl.gz", "movies": "meta_Movies.jsonl.gz"}
    for name, file in names.items():
        with gzip.open(source / file, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        if name == "ratings":
            columns = ["user_id", "parent_asin", "rating", "timestamp"]
        else:
            columns = ["parent_asin", "title"]
        table = pl.DataFrame({column: [row[column] for row in rows] for column in columns})
        table.rename({"parent_asin": "movieId"}).write_csv(tmp_path / f"{name}.csv")
    found = ingest(formats.sniff([tmp_path]))
    dump = IngestConfig(reviews=(source / names["ratings"],), metadata=(source / names["movies"],))
    expected = ingest(dump)
    assert (found.user_ids, found.asins) == (expected.user_ids, expected.asins)
    assert triples(found) == triples(expected)
    assert [item.title for item in found.items] == [item.title for item in expected.items]


def test_tables_of_items_may_have_different_columns(tmp_path: Path) -> None:
    orders = write(tmp_path / "orders.csv", "csv")
    (tmp_path / "a.csv").write_text("sku,name\né,Mug\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("product_id,story\né,Red and round\n", encoding="utf-8")
    columns = {"item_id": "sku", "title": "name", "text": ["story"]}
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    found = read(orders, items=files, columns=columns)
    item = found.items[found.asins.index("é")]
    assert (item.title, item.description) == ("Mug", "Red and round")
    with pytest.raises(UserError, match=r"columns\.brand: no column 'maker' in .*a\.csv and .*b"):
        read(orders, items=files, columns={"brand": "maker"})
