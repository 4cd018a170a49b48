import gzip
import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brmrs.errors import UserError
from brmrs.ingest.amazon.metadata import METADATA
from brmrs.ingest.amazon.metadata import parse as parse_metadata
from brmrs.ingest.amazon.records import (
    MAX_ID,
    Kind,
    RejectedError,
    literal_object,
    read,
)
from brmrs.ingest.amazon.reviews import REVIEWS, Review
from brmrs.ingest.amazon.reviews import parse as parse_review
from brmrs.ingest.dataset import Reading

GOOD_2014 = b'{"reviewerID": "u", "asin": "i", "overall": 5.0, "unixReviewTime": 900000000}'
GOOD_2018 = (
    b'{"reviewerID": "u", "asin": "i", "overall": 5.0, "verified": true, '
    b'"unixReviewTime": 900000000}'
)
GOOD_2023 = (
    b'{"user_id": "u", "parent_asin": "i", "asin": "v", "rating": 5.0, "timestamp": 900000000000}'
)

ids = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30)
stars = st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])
seconds = st.none() | st.integers(788_918_400, 4_000_000_000)


def test_the_generations_are_by_kind_by_content() -> None:
    assert parse_review(GOOD_2014) == Review("u", "i", 5.0, 900_000_000_000, "2014")
    assert parse_review(GOOD_2018) == Review("u", "i", 5.0, 900_000_000_000, "2018")
    assert parse_review(GOOD_2023) == Review("u", "i", 5.0, 900_000_000_000, "2023")


@given(ids, ids, stars, seconds, st.sampled_from(["2014", "2018", "2023"]), st.text())
def test_reviews_are_read_as_written(
    user: str, asin: str, rating: float, when: int | None, generation: str, text: str
) -> None:
    milliseconds = None if when is None else when * 1000
    row: dict[str, object]
    if generation == "2023":
        row = {"user_id": user, "parent_asin": asin, "asin": "variant", "rating": rating}
        row |= {"timestamp": milliseconds, "text": text}
    else:
        row = {"reviewerID": user, "asin": asin, "overall": rating, "reviewText": text}
        row |= {"unixReviewTime": when} if when is not None else {}
        row |= {"helpful": [0, 0]} if generation == "2014" else {"verified": False}
    line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")
    assert parse_review(line) == Review(user, asin, rating, milliseconds, generation)


def change(**fields: object) -> bytes:
    """A good review of 2023 with some fields changed; a field changed to `...` is left out."""
    row = orjson.loads(GOOD_2023) | fields
    return json.dumps({name: value for name, value in row.items() if value is not ...}).encode()


BAD_REVIEWS = [
    (b"{", "not JSON"),
    (b"nonsense", "not JSON"),
    (b'{"user_id": NaN}', "not JSON"),
    (GOOD_2023 + GOOD_2023, "not JSON"),
    (GOOD_2023[:-1], "not JSON"),
    (GOOD_2023.replace(b'"u"', b'"\xff"'), "not JSON"),
    (GOOD_2023.replace(b'"u"', b'"\\ud800"'), "not JSON"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "not JSON"),
    (b"\0" * 50, "not JSON"),
    (GOOD_2014.replace(b'"', b"'"), "not JSON"),
    (b"[]", "not an object"),
    (b"5", "not an object"),
    (b'"text"', "not an object"),
    (b"null", "not an object"),
    (b"{}", "no user id"),
    (change(user_id=...), "no user id"),
    (change(user_id=None), "no user id"),
    (change(user_id=""), "no user id"),
    (change(user_id=5), "user id is not a string"),
    (change(user_id=["u"]), "user id is not a string"),
    (change(user_id="u" * 10_000), f"user id longer than {MAX_ID} characters"),
    (change(user_id="a\x00b"), "user id is not printable"),
    (change(user_id="a\nb"), "user id is not printable"),
    (change(user_id="  "), "user id is not printable"),
    (change(parent_asin=..., asin=...), "no item id"),
    (change(parent_asin=""), "no item id"),
    (change(parent_asin={}), "item id is not a string"),
    (change(rating=...), "no rating"),
    (change(rating=None), "no rating"),
    (change(rating="5.0"), "rating is not a number"),
    (change(rating=True), "rating is not a number"),
    (change(rating=[5]), "rating is not a number"),
    (change(rating=0), "rating is not within 1 to 5"),
    (change(rating=5.5), "rating is not within 1 to 5"),
    (change(rating=-1), "rating is not within 1 to 5"),
    (change(rating=10**30), "rating is not within 1 to 5"),
    (change(timestamp="2020"), "time is not a whole number"),
    (change(timestamp=1.5), "time is not a whole number"),
    (change(timestamp="2016-01-01"), "time is not a whole number"),
    (change(timestamp=False), "time is not a whole number"),
    (change(timestamp=-1), "time is not within 1970 to 2100"),
    (change(timestamp=10**15), "time is not within 1970 to 2100"),
    (change(timestamp=5_000_000_000), "time is not within 1970 to 2100"),
    (b'{"reviewerID": "u", "overall": 5.0}', "no item id"),
    (b'{"reviewerID": "u", "asin": "i"}', "no rating"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_REVIEWS, ids=range(len(BAD_REVIEWS)))
def test_a_bad_review_is_rejected_with_a_reason(line: bytes, reason: str) -> None:
    with pytest.raises(RejectedError) as error:
        parse_review(line)
    assert str(error.value) == reason


ANY_UNIT = [
    (GOOD_2023, 900_000_000_000, False),
    (change(timestamp=900_000_000), 900_000_000_000, True),
    (change(timestamp=1_600_000_000.0), 1_600_000_000_000, True),
    (change(timestamp=1_600_000_000_000.0), 1_600_000_000_000, False),
    (change(timestamp=0), 0, True),
    (GOOD_2018, 900_000_000_000, False),
    (GOOD_2018.replace(b"900000000", b"900000000000"), 900_000_000_000, True),
    (GOOD_2014.replace(b"900000000", b"9e8"), 900_000_000_000, False),
    (change(timestamp=None), None, False),
]


@pytest.mark.parametrize(("line", "milliseconds", "other"), ANY_UNIT, ids=range(len(ANY_UNIT)))
def test_times_are_read_in_the_unit_that_their_size_shows(
    line: bytes, milliseconds: int | None, other: bool
) -> None:
    review = parse_review(line)
    assert (review.timestamp, review.other_unit) == (milliseconds, other)


def test_fields_count_by_being_there_whatever_the_generation() -> None:
    assert parse_review(change(parent_asin=...)).asin == "v"
    row = {"reviewerID": "u", "parent_asin": "i", "asin": "v", "rating": 4, "timestamp": 9 * 10**11}
    assert parse_review(orjson.dumps(row)) == Review("u", "i", 4.0, 9 * 10**11, "2014", True)


@pytest.mark.parametrize("user_id", ["a/b", "../../etc/passwd", "ü ö", "😀", "C:\\x", "-", "0"])
def test_odd_ids_are_kept_as_they_are(user_id: str) -> None:
    assert parse_review(change(user_id=user_id)).user_id == user_id


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected(line: bytes) -> None:
    for parse in (parse_review, parse_metadata, literal_object):
        try:
            parse(line)
        except RejectedError:
            continue


@given(st.sampled_from([GOOD_2014, GOOD_2018, GOOD_2023]), st.data())
def test_a_flipped_byte_is_read_or_rejected(line: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(line) - 1))
    broken = bytearray(line)
    broken[position] = data.draw(st.integers(0, 255))
    try:
        review = parse_review(bytes(broken))
    except RejectedError:
        return
    assert review.user_id
    assert review.asin
    assert 1 <= review.rating <= 5


def write(tmp_path: Path, name: str, lines: list[bytes]) -> Path:
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_bad_lines_are_quarantined_with_file_line_reason_and_content(tmp_path: Path) -> None:
    first = write(tmp_path, "a.json", [GOOD_2014, b"", b"{" + b"x" * 1000, GOOD_2018])
    second = write(tmp_path, "b.json", [GOOD_2023 + b"\r", change(rating=0), b"\xff", b" "])
    reading = Reading()
    records = list(read([first, second], REVIEWS, 0.5, reading))
    assert [record.generation for record in records] == ["2014", "2018", "2023"]
    assert (reading.files, reading.lines) == (2, 6)
    assert [bad[:3] for bad in reading.quarantine] == [
        ("a.json", 3, "not JSON"),
        ("b.json", 2, "rating is not within 1 to 5"),
        ("b.json", 3, "not JSON"),
    ]
    assert [len(bad.content) for bad in reading.quarantine] == [200, len(change(rating=0)), 1]
    assert reading.reasons() == {"not JSON": 2, "rating is not within 1 to 5": 1}


def test_a_line_of_50_megabytes_is_quarantined(tmp_path: Path) -> None:
    huge = b'{"user_id": "' + b"u" * 50_000_000 + b'"}'
    reading = Reading()
    path = write(tmp_path, "a.json", [GOOD_2014, huge, GOOD_2014])
    assert len(list(read([path], REVIEWS, 0.5, reading))) == 2
    assert reading.reasons() == {"longer than 10,000,000 bytes": 1}


def test_too_many_bad_lines_stop_with_the_first_of_them(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", [GOOD_2014] * 98 + [change(rating=0), b"{"])
    assert len(list(read([path], REVIEWS, 0.02, Reading()))) == 98
    expected = (
        r"ingest\.reviews: 2 of 100 lines cannot be used, more than ingest\.max_bad_share = 0\.01; "
        r"the first is a\.json, line 99: rating is not within 1 to 5; correct the dump, or raise"
    )
    with pytest.raises(UserError, match=expected):
        list(read([path], REVIEWS, 0.01, Reading()))


def test_a_bad_file_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brmrs.ingest.amazon.records.BAD_LINES_BEFORE_GIVING_UP", 50)
    path = write(tmp_path, "a.json", [GOOD_2014] + [b"{"] * 5000)
    reading = Reading()
    with pytest.raises(UserError, match="51 of 52 lines"):
        list(read([path], REVIEWS, 0.5, reading))


# A file of which every line lacks the same: the reason counts, not the form.
ALL_BAD = [
    (change(rating="5.0"), "rating is not a number"),
    (change(parent_asin=5), "item id is not a string"),
    (change(timestamp=1.5), "time is not a whole number"),
    (change(timestamp="2016-01-01"), "time is not a whole number"),
    (change(rating=0), "rating is not within 1 to 5"),
]


@pytest.mark.parametrize(("line", "reason"), ALL_BAD, ids=range(len(ALL_BAD)))
def test_a_file_without_a_usable_line_gives_the_reason(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = write(tmp_path, "a.json", [b"{cut off", line, line])
    expected = rf"a\.json: none of the 3 lines tried can be used; line 2: {reason} \('{{"
    with pytest.raises(UserError, match=expected):
        list(read([path], REVIEWS, 1.0, Reading()))


def test_a_file_of_blank_lines_is_refused_soon(tmp_path: Path) -> None:
    path = tmp_path / "blank.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(GOOD_2014 + b"\n")
        for _ in range(50):
            file.write(b"\n" * 1_000_000)
    with pytest.raises(UserError, match=r"blank\.json\.gz: 100,001 blank lines among 1 others"):
        list(read([path], REVIEWS, 1.0, Reading()))


NO_DUMPS = [
    (REVIEWS, b"user,item,rating\n1,2,3\n", "a table or plain text ('user,item,rating')"),
    (REVIEWS, b"u\ti\t5\n", "a table or plain text"),
    (REVIEWS, b"<!DOCTYPE html>\n<html>\n", "HTML or XML"),
    (REVIEWS, b"\x00\x01\x02\xff\n", "binary data"),
    (REVIEWS, b"\x89PNG\r\n\x1a\n\0\0", "binary data"),
    (REVIEWS, b'[{"user_id": "u"},\n{}]\n', "a JSON array; write one object per line"),
    (REVIEWS, b'{\n"user_id": "u"\n}\n', "a line that starts with '{'"),
    (REVIEWS, b'{"asin": "i", "title": "t"}\n', "objects with the fields 'asin', 'title'"),
    (REVIEWS, b"{'asin': 'i', 'imUrl': 'x'}\n", "objects with the fields 'asin', 'imUrl'"),
    (REVIEWS, b"{}\n", "objects with the fields (none)"),
    (REVIEWS, b"change\n" * 200 + GOOD_2014, "a line that starts with 'change'"),
    (METADATA, GOOD_2018, "objects with the fields 'reviewerID', 'asin', 'overall'"),
    (METADATA, b"i,title\n", "a table or plain text"),
    (REVIEWS, b"", "the file is empty; remove it from ingest.reviews"),
    (REVIEWS, b"\n \r\n\n", "the file is empty"),
    (METADATA, b"\xef\xbb\xbf", "the file is empty; remove it from ingest.metadata"),
]


@pytest.mark.parametrize(("kind", "content", "found"), NO_DUMPS, ids=range(len(NO_DUMPS)))
def test_a_file_that_is_no_dump_is_described(
    tmp_path: Path, kind: Kind[object], content: bytes, found: str
) -> None:
    path = tmp_path / "named_like_a_dump.json.gz"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        list(read([path], kind, 1.0, Reading()))
    assert str(error.value).startswith(f"{path}: ")
    assert found in str(error.value)
    assert "\n" not in str(error.value)
