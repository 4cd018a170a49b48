import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.amazon.ratings import ratings_table
from brmrs.ingest.amazon.records import Lines
from brmrs.ingest.csv_rows import rows_of
from brmrs.ingest.dataset import Reading
from brmrs.ingest.lines import read_blocks
from brmrs.ingest.stage import ingest

OLD = "A1B2C3D4E5F6G,0123456789,5.0,1400000000\nA2B2C3D4E5F6G,B00ABCDEFG,1.0,1400000001\n"
SWAPPED = "".join(
    ",".join([fields[1], fields[0], *fields[2:]]) + "\n"
    for fields in (line.split(",") for line in OLD.splitlines())
)
NEW = (
    "user_id,parent_asin,rating,timestamp\n"
    "A1B2C3D4E5F6G,0123456789,5.0,1400000000000\nA2B2C3D4E5F6G,B00ABCDEFG,1.0,1400000001000\n"
)


def write(folder: Path, content: str) -> Path:
    path = folder / "ratings.csv"
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("content", "generation"), [(OLD, "2014"), (SWAPPED, "2018"), (NEW, "2023")]
)
def test_the_generations_are_by_kind_by_content(
    tmp_path: Path, content: str, generation: str
) -> None:
    found = ingest(IngestConfig(reviews=(write(tmp_path, content),), k=0))
    assert found.user_ids == ["A1B2C3D4E5F6G", "A2B2C3D4E5F6G"]
    assert found.asins == ["0123456789", "B00ABCDEFG"]
    assert found.interactions.rating.tolist() == [5.0, 1.0]
    assert found.interactions.timestamp.tolist() == [1_400_000_000_000, 1_400_000_001_000]
    assert found.statistics["reviews"]["generations"] == {generation: 2}
    assert found.statistics["reviews"]["lines"] == 2


def test_more_columns_and_windows_line_ends(tmp_path: Path) -> None:
    content = (
        "user_id,parent_asin,rating,timestamp,history\r\n"
        "u,i,4.0,1400000000000,a b\r\nv,i,3,1400000001000,\r\n"
    )
    found = ingest(IngestConfig(reviews=(write(tmp_path, "\ufeff" + content),), k=0))
    assert found.interactions.timestamp.tolist() == [1_400_000_000_000, 1_400_000_001_000]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A1B2C3D4E5F6G,0123456789,5.0", "not 4 values"),
        ("A1B2C3D4E5F6G,0123456789,5.0,1,2", "not 4 values"),
        ("A1B2C3D4E5F6G,0123456789,5.0,2016-01-01", "time is not a whole number"),
        ('"A1"x,0123456789,5.0,1', "no row of CSV: ',' expected after '\"'"),
        (",0123456789,5.0,1", "no user id"),
        ("A1B2C3D4E5F6G,,5.0,1", "no item id"),
        ("A1B2C3D4E5F6G,0123456789,,1", "no rating"),
        ("A1B2C3D4E5F6G,0123456789,nan,1", "rating is not a number"),
        ("A1B2C3D4E5F6G,0123456789,6.0,1", "rating is not within 1 to 5"),
        ("A1B2C3D4E5F6G,0123456789,5.0,1.5", "time is not a whole number"),
        ("A1B2C3D4E5F6G,0123456789,5.0,-1", "time is not within 1970 to 2100"),
        ("A1B2C3D4E5F6G,0123456789,5.0," + "9" * 30, "time is not within 1970 to 2100"),
    ],
)
def test_bad_rows_are_quarantined(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path, OLD + line + "\n")
    found = ingest(IngestConfig(reviews=(path,), k=0, max_bad_share=0.5))
    assert [(bad.line, bad.reason) for bad in found.quarantine] == [(3, reason)]
    assert len(found.interactions) == 2


def test_columns_that_cannot_be_by_kind_need_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, "u,i,5.0,1400000000\nv,j,5.0,1400000000\n")
    with pytest.raises(UserError, match=r"ratings\.csv: .* write the header user_id,parent_asin"):
        ingest(IngestConfig(reviews=(path,), k=0))


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"user_id": "u"}\n',
        '"rating": 5, "x"\n{"user_id": "u"}\n',
        "<p>a,b\n",
        "plain\n",
        "\n\n",
    ],
)
def test_other_files_are_no_tables(tmp_path: Path, content: str) -> None:
    assert ratings_table(write(tmp_path, content)) is None


TEN_DIGITS = "".join(
    f"{1_000_000_000 + n},item-{n % 7},5.0,{1_400_000_000 + n}\n" for n in range(89)
)
ONE_OF_89 = "".join(
    f"{'0123456789' if n == 5 else f'user-{n}'},item-{n % 7},5.0,{1_400_000_000 + n}\n"
    for n in range(89)
)
BOTH = "".join(f"{1_000_000_000 + n},B00ABCDEF{n % 7},5.0,1400000000\n" for n in range(20))


@pytest.mark.parametrize("content", [ONE_OF_89, BOTH], ids=["one of 89", "both"])
def test_without_a_clear_majority_a_header_is_asked_for(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"ratings\.csv: .* write the header user_id,parent_asin"):
        ingest(IngestConfig(reviews=(write(tmp_path, content),), k=0))


@pytest.mark.parametrize(
    "content",
    [
        [
            "user_id,parent_asin,rating,timestamp",
            '"u 1","i, 1",5.0,1400000000000',
            'v,"i""2",4,1400000000000',
        ],
        [
            "user_id, parent_asin, rating, timestamp",
            ' u 1, "i, 1", 5.0, 1400000000000',
            'v, "i""2", 4,1400000000000',
        ],
        [
            '"timestamp","rating","parent_asin","user_id"',
            '"1400000000000","5.0","i, 1","u 1"',
            '1400000000000,4,"i""2",v',
        ],
        [
            "reviewerID\tasin\toverall\tunixReviewTime",
            "u 1\ti, 1\t5\t1400000000",
            'v\t"i""2"\t4.0\t1400000000.0',
        ],
        [
            "User_ID;asin;Rating;timestamp;review",
            'u 1;i, 1;5;1400000000;"two\nlines; ""x"""',
            'v;"i""2";4;1400000000;-',
        ],
    ],
    ids=["quotes", "blanks", "order", "names and tabs", "semicolons and a row of two lines"],
)
def test_tables_with_a_header_are_read_as_csv(tmp_path: Path, content: list[str]) -> None:
    path = write(tmp_path, "\n".join(content))
    found = ingest(IngestConfig(reviews=(path,), k=0))
    assert (found.user_ids, found.asins) == (["u 1", "v"], ['i"2', "i, 1"])
    assert found.interactions.rating.tolist() == [5.0, 4.0]
    assert found.interactions.timestamp.tolist() == [1_400_000_000_000] * 2
    assert found.quarantine == []


def test_quotes_in_a_table_without_a_header(tmp_path: Path) -> None:
    content = OLD.replace("A1B2C3D4E5F6G", '"A1B2C3D4E5F6G"')
    found = ingest(IngestConfig(reviews=(write(tmp_path, content),), k=0))
    assert found.user_ids == ["A1B2C3D4E5F6G", "A2B2C3D4E5F6G"]


def test_a_quote_that_is_not_closed_costs_its_line_alone(tmp_path: Path) -> None:
    rows = [f"u{n},i{n % 3},5,1400000000000" for n in range(400)]
    rows[5] = '"u5,i2,5,1400000000000'
    path = write(tmp_path, "\n".join(["user_id,parent_asin,rating,timestamp", *rows]))
    found = ingest(IngestConfig(reviews=(path,), k=0))
    assert len(found.interactions) == 399
    assert [(bad.line, bad.reason) for bad in found.quarantine] == [
        (7, "no row of CSV: unexpected end of data")
    ]


def test_seconds_and_milliseconds_in_one_table(tmp_path: Path) -> None:
    content = "user_id,parent_asin,rating,timestamp\nu,i,5,1400000000\nu,j,5,1400000000000\n"
    found = ingest(IngestConfig(reviews=(write(tmp_path, content),), k=0))
    assert found.interactions.timestamp.tolist() == [1_400_000_000_000] * 2
    assert found.statistics["reviews"]["times_in_other_unit"] == 1


@pytest.mark.parametrize(
    "header", ["customer,product,stars,date", "user_id,rating,timestamp", "a;b"]
)
def test_a_table_with_other_columns_names_the_header(tmp_path: Path, header: str) -> None:
    path = write(tmp_path, f"{header}\nu,i,5,2020-01-01\n")
    told = (
        rf"a table with the first line '{header}'; .* header user_id,parent_asin,rating,timestamp"
    )
    with pytest.raises(UserError, match=told):
        ingest(IngestConfig(reviews=(path,), k=0))


cells = st.text(st.sampled_from("ab1 ,;\"\n\t'é"), max_size=5)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_written_tables_are_read_as_the_module_csv_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], separator: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerow(["user_id", "asin", "rating", "timestamp", "text"])
        writer.writerows([user, item, 5, 1_400_000_000, text] for user, item, text in rows)
        writer.writerow(["u", "i", 5, 1_400_000_000, "good"])
    table = ratings_table(path)
    assert table is not None
    reading = Reading()
    lines = Lines(path, table.kind, 1.0, reading)
    blocks = rows_of(read_blocks(path, lambda _: None), separator)
    found = [review[:2] for first, part in blocks for review in lines.records(first, part)]
    with path.open(newline="") as file:
        expected = list(csv.reader(file, delimiter=separator, skipinitialspace=True))
    ids = [(row[0].strip(), row[1].strip()) for row in expected[1:]]
    assert found == [pair for pair in ids if all(one and one.isprintable() for one in pair)]
    assert len(found) + len(reading.quarantine) == len(ids)
