"""The fast path agrees with the line by line path on every line, whatever its neighbours."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.amazon import encode_ids, fast_decode
from brmrs.ingest.amazon.encode_ids import EncodedReviews, encode_reviews
from brmrs.ingest.amazon.records import Lines, RejectedError
from brmrs.ingest.amazon.reviews import REVIEWS, parse
from brmrs.ingest.dataset import BadLine, Reading
from brmrs.ingest.interactions import NO_TIME

OLD: dict[str, Any] = {"reviewerID": "u", "asin": "i", "overall": 5.0, "unixReviewTime": 900000000}
NEW: dict[str, Any] = {"user_id": "u", "parent_asin": "i", "rating": 5.0, "timestamp": 900000000000}
SHAPES = [OLD, OLD | {"verified": True}, NEW, NEW | {"asin": "v", "images": [{"a": "{\n}"}]}]

ids = st.sampled_from(["u", "v", "w", "../x", "ü", "😀", "a,b"])
odd_values = st.sampled_from(
    [None, True, False, "", " ", "5", "a\nb", "\x00", "u" * 300, [], {}, ["u"], {"}\n{": 1}, 0,
     1, 3, 5.5, -1, 1.0, 1e300, 10**30, 4_102_444_800, 4_102_444_799_999, 1_400_000_000,
     1_400_000_000_000, 788_918_399_999, 788_918_400_000, 1_400_000_000.0, 1_400_000_000.5]
)  # fmt: skip
endings = st.sampled_from(["", "", "", "\r", " ", "\t"])


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """A line that is a review but perhaps for one field."""
    row = dict(draw(st.sampled_from(SHAPES)))
    names = list(row)
    row[names[0]], row[names[1]] = draw(ids), draw(ids)
    row[names[2]] = draw(st.sampled_from([1, 2.0, 3.5, 5.0]))
    if draw(st.integers(0, 9)) == 0:
        row[draw(st.sampled_from([*names, "verified", "reviewerID", "x"]))] = draw(odd_values)
    if draw(st.integers(0, 19)) == 0:
        row.pop(draw(st.sampled_from(names)))
    text = json.dumps(row, ensure_ascii=draw(st.booleans())) + draw(endings)
    return text.encode("utf-8", "surrogatepass")


odd_lines = st.sampled_from(
    [
        b"",
        b" ",
        b"{",
        b"{}",
        b"[1]",
        b'{"user_id": "u", "parent_asin": "i",',
        b'"rating": 5.0, "timestamp": 7}',
        b'{"user_id": "u", "parent_asin": "i", "rating": 5.0, "timestamp": 7, "x":',
        b'{}}{"user_id": "u", "parent_asin": "i", "rating": 5.0, "timestamp": 7}',
        orjson.dumps(NEW) + orjson.dumps(NEW),
        orjson.dumps(NEW) + b" " + orjson.dumps(NEW),
        orjson.dumps(OLD).replace(b'"u"', b'"\xff"'),
        orjson.dumps(NEW)[:-1] + b', "text": "latin \xe9"}',
        orjson.dumps(NEW)[:-1] + b', "text": "\\ud800"}',
        orjson.dumps(NEW)[:-1] + b', "x": 1e999}',
        orjson.dumps(NEW)[:-1] + b', "x": 1e999, "rating": 9}',
        orjson.dumps(NEW)[:-1] + b', "x": ' + b"[" * 1100 + b"]" * 1100 + b"}",
        orjson.dumps(NEW)[:-1] + b', "rating": 2.0, "rating": 3.0}',
        *(
            orjson.dumps(NEW)[:-1] + b', "x": %s}' % odd
            for odd in (b"NaN", b"-Infinity", b"-0", b"01")
        ),
        orjson.dumps(NEW).replace(b"5.0", b"NaN"),
        orjson.dumps(NEW).replace(b"900000000000", b"-0"),
        orjson.dumps(NEW).replace(b"900000000000", b"9e11"),
        orjson.dumps(NEW).replace(b"parent_", b"parent\\u005f"),
        orjson.dumps(OLD)[:-1] + b', "verified": null}',
        orjson.dumps(OLD)[:-1] + b', "parent_asin": "p"}',
        orjson.dumps(OLD)[:-1] + b', "rating": 1, "timestamp": 1400000000000}',
        orjson.dumps(NEW)[:-1] + b', "overall": 1.0}',
        orjson.dumps(NEW)[:-1] + b', "unixReviewTime": 1400000000}',
        orjson.dumps(NEW).replace(b"parent_asin", b"asin"),
        orjson.dumps(NEW)[:-1] + b', "reviewerID": null}',
        orjson.dumps(NEW)[:-1] + b', "overall": "5"}',
        b"\xef\xbb\xbf" + orjson.dumps(NEW),
        *(orjson.dumps(NEW) + end for end in (b"\x0b", b"\x0c", b"\0")),  # the fuzzer's findings
    ]
)
dumps = st.lists(rows() | rows() | rows() | rows() | odd_lines, max_size=40)


def slowly(lines: list[bytes]) -> tuple[list[Any], list[BadLine], Counter[str]]:
    """What the line by line path makes of them."""
    reading = Reading()
    way = Lines(Path("d.json"), REVIEWS, 1.0, reading)
    reviews = list(way.records(1, lines))
    times = [NO_TIME if review.timestamp is None else review.timestamp for review in reviews]
    kept = [(*review[:3], time) for review, time in zip(reviews, times, strict=True)]
    return kept, reading.quarantine, Counter(review.generation for review in reviews)


def unmapped(found: EncodedReviews) -> list[Any]:
    coded = found.interactions()
    users, items = found.user.ids.to_pylist(), found.item.ids.to_pylist()
    columns = (coded.user, coded.item, coded.rating, coded.timestamp)
    return [(users[row[0]], items[row[1]], *row[2:]) for row in zip(*columns, strict=True)]


@given(dumps, st.sampled_from([1, 3, 64]), st.booleans())
def test_blocks_agree_with_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], piece: int, last_feed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "d.json"
    path.write_bytes(b"\n".join(lines) + b"\n" * last_feed)
    lines = [lines[0].removeprefix(b"\xef\xbb\xbf"), *lines[1:]] if lines else []
    reviews, quarantine, generations = slowly(lines)
    config = IngestConfig(reviews=(path,), max_bad_share=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode_ids, "PIECE", piece)
        if not reviews:
            with pytest.raises(UserError, match=r"is empty|not a dump|lines tried|a table with"):
                encode_reviews([path], config)
            return
        found, reading = encode_reviews([path], config)
    assert unmapped(found) == reviews
    assert reading.quarantine == quarantine
    assert reading.generations == generations
    assert reading.lines == len(reviews) + len(quarantine)


@given(st.lists(rows(), min_size=1, max_size=5), st.data())
def test_a_block_with_flipped_bytes_agrees_with_its_lines(
    lines: list[bytes], data: st.DataObject
) -> None:
    block = bytearray(b"\n".join([*lines, b""]))
    for _ in range(data.draw(st.integers(0, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    decoded, found = fast_decode.decode(bytes(block)), EncodedReviews()
    if decoded is not None:
        found.add(decoded)
        reviews, quarantine, generations = slowly(bytes(block).split(b"\n"))
        assert (unmapped(found), decoded.generations) == (reviews, generations)
        assert not quarantine


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_good_blocks_take_the_fast_path(shape: dict[str, Any], ending: bytes) -> None:
    block = (orjson.dumps(shape) + ending) * 3
    found = fast_decode.decode(block)
    assert found is not None
    line = parse(orjson.dumps(shape))
    assert found.generations == {line.generation: 3}
    decoded = (found.user.to_pylist(), found.item.to_pylist(), found.rating, found.timestamp)
    assert list(zip(*decoded, strict=True)) == [line[:4]] * 3


@pytest.mark.parametrize("end", [b"\x0b", b"\x0c", b"\0"])
def test_other_white_space_than_jsons_is_not_taken(end: bytes) -> None:  # the fuzzer's finding
    with pytest.raises(RejectedError, match="not JSON"):
        parse(orjson.dumps(NEW) + end)


def test_a_block_with_a_bad_id_is_read_line_by_line() -> None:
    block = b"".join(orjson.dumps(NEW | {"parent_asin": item}) + b"\n" for item in ("i", "\x00"))
    assert fast_decode.decode(block) is None


def test_several_processes_give_what_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for name in "abc":
        lines = [orjson.dumps(NEW | {"user_id": name + str(n % 7), "parent_asin": str(n % 5)})
                 for n in range(50)] + [b"{bad"]  # fmt: skip
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_bytes(b"\n".join(lines))
    config = IngestConfig(reviews=tuple(paths), max_bad_share=0.5)
    alone, read_alone = encode_reviews(paths, config)
    monkeypatch.setattr(encode_ids, "SEVERAL_PROCESSES", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    together, read_together = encode_reviews(paths, config)
    assert unmapped(together) == unmapped(alone)
    assert read_together.generations == read_alone.generations
    assert read_together == read_alone
    paths[1].write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"b\.json: not a dump"):
        encode_reviews(paths, config)
