from pathlib import Path

import pytest

from brmrs.config.pipeline import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.amazon.ratings import ratings_kind
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
def test_the_generations_are_told_apart_by_content(
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
    content = "user_id,parent_asin,rating,timestamp,history\r\nu,i,4.0,1000,a b\r\nv,i,3,2000,\r\n"
    found = ingest(IngestConfig(reviews=(write(tmp_path, "\ufeff" + content),), k=0))
    assert found.interactions.timestamp.tolist() == [1000, 2000]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A1B2C3D4E5F6G,0123456789,5.0", "not 4 fields between commas"),
        ("A1B2C3D4E5F6G,0123456789,5.0,1,2", "not 4 fields between commas"),
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


def test_columns_that_cannot_be_told_apart_need_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, "u,i,5.0,1400000000\nv,j,5.0,1400000000\n")
    with pytest.raises(UserError, match=r"ratings\.csv: .* write the header user_id,parent_asin"):
        ingest(IngestConfig(reviews=(path,), k=0))


@pytest.mark.parametrize("content", ["", '{"user_id": "u"}\n', "a,b\n1,2\n", "\n\n"])
def test_other_files_are_none(tmp_path: Path, content: str) -> None:
    assert ratings_kind(write(tmp_path, content)) is None
