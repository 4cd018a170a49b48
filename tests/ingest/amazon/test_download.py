"""Downloads from a real HTTP server on this machine, which misbehaves as servers do."""

import gzip
import hashlib
import json
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dump_server import (
    Answer,
    Handler,
    Server,
    cut_at,
    hang_up,
    other_version,
    status,
    whole,
    whole_or_range,
)

from brmrs.errors import UserError
from brmrs.ingest.amazon import download as module
from brmrs.ingest.amazon.categories import CATEGORIES
from brmrs.ingest.amazon.download import ADDRESSES, download, fetch

CONTENT = gzip.compress(random.Random(0).randbytes(300_000), mtime=0)
HALF = len(CONTENT) // 2


def get(server: Server, tmp_path: Path) -> bytes:
    path = fetch(server.url, tmp_path / "dumps" / "file.json.gz", pause=0.01)
    digest = hashlib.sha256(CONTENT).hexdigest()
    record = path.with_name("file.json.gz.sha256").read_text()
    assert record == f"{digest}  file.json.gz\n"
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, path.name + ".sha256"]
    return path.read_bytes()


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        ((whole_or_range,), [None]),
        ((whole,), [None]),
        ((cut_at(HALF), whole_or_range), [None, f"bytes={HALF}-"]),
        ((cut_at(HALF), whole), [None, f"bytes={HALF}-"]),
        ((cut_at(0), whole_or_range), [None, None]),
        ((status(503), whole_or_range), [None, None]),
        ((status(429, Retry_After="0"), whole_or_range), [None, None]),
        ((status(503, Retry_After="soon\xb2"), whole_or_range), [None, None]),
        ((hang_up, whole_or_range), [None, None]),
        ((cut_at(HALF), other_version), [None, f"bytes={HALF}-"]),
        ((cut_at(HALF), status(416), whole_or_range), [None, f"bytes={HALF}-", None]),
        (
            (cut_at(9), cut_at(99), cut_at(999), cut_at(9999), cut_at(99999), whole_or_range),
            [None, "bytes=9-", "bytes=99-", "bytes=999-", "bytes=9999-", "bytes=99999-"],
        ),
    ],
)
def test_the_file_comes_whole(
    tmp_path: Path, answers: tuple[Answer, ...], ranges: list[str | None]
) -> None:
    with Server(CONTENT, *answers) as server:
        assert get(server, tmp_path) == CONTENT
    assert server.ranges == ranges


def wrong_range(handler: Handler) -> None:
    whole_or_range_headers = {"Content_Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}
    handler.answer(206, CONTENT[5:], **whole_or_range_headers)


def too_long(handler: Handler) -> None:
    handler.answer(200, CONTENT + b"x" * 9, Content_Length=str(len(CONTENT)))
    handler.close_connection = True


def test_a_range_that_was_not_asked_for_starts_anew(tmp_path: Path) -> None:
    with Server(CONTENT, cut_at(HALF), wrong_range, whole_or_range) as server:
        assert get(server, tmp_path) == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-", None]


def test_more_bytes_than_promised_are_not_taken(tmp_path: Path) -> None:
    with Server(CONTENT, too_long) as server:
        assert get(server, tmp_path) == CONTENT


def test_without_a_validator_nothing_is_appended(tmp_path: Path) -> None:
    with Server(CONTENT, cut_at(HALF), whole_or_range, etag='W/"weak"') as server:
        assert get(server, tmp_path) == CONTENT
    assert server.ranges == [None, None]


@pytest.mark.parametrize(
    ("answer", "message", "requests"),
    [
        (status(404), r"the server answers 404; the file may have moved", 1),
        (status(403), r"answers 403", 1),
        (status(503), r"answers 503; gave up after 5 tries", 5),
        (status(302, Location="/again"), r"redirected more than 5 times", 6),
        (status(302, Location="file:///etc/passwd"), r"redirected to an invalid address", 1),
        (hang_up, r"the connection broke .*gave up after 5 tries", 5),
        (lambda h: h.answer(200, b"<html>log in</html>"), r"not gzip, it starts with b'<html>", 1),
        (lambda h: h.answer(200, b""), r"not gzip", 1),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(
    tmp_path: Path, answer: Answer, message: str, requests: int
) -> None:
    with Server(CONTENT, answer) as server, pytest.raises(UserError, match=message) as caught:
        get(server, tmp_path)
    assert len(server.ranges) == requests
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "dumps" / "file.json.gz").exists()


def test_a_length_that_never_comes_keeps_what_came(tmp_path: Path) -> None:
    def promises_more(handler: Handler) -> None:
        start = handler.start()
        length = str(len(CONTENT) + 7 - start)
        headers = {"ETag": '"one"', "Content_Length": length}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(CONTENT) + 6}/{len(CONTENT) + 7}"
        handler.answer(206 if start else 200, CONTENT[start:], **headers)
        handler.close_connection = True

    hint = f"to continue after {len(CONTENT):,} bytes"
    with Server(CONTENT, promises_more) as server, pytest.raises(UserError, match=hint):
        get(server, tmp_path)
    assert (tmp_path / "dumps" / "file.json.gz.part").read_bytes() == CONTENT


def test_what_is_there_is_checked_and_kept(tmp_path: Path) -> None:
    with Server(CONTENT) as server:
        get(server, tmp_path)
        get(server, tmp_path)
        assert server.ranges == [None]
        path = tmp_path / "dumps" / "file.json.gz"
        path.write_bytes(CONTENT[:-1])
        with pytest.raises(UserError, match="is not the file that was downloaded"):
            get(server, tmp_path)
        path.with_name("file.json.gz.sha256").unlink()
        with pytest.raises(UserError, match="was not downloaded by brmrs"):
            get(server, tmp_path)


def test_a_part_of_another_address_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "dumps" / "file.json.gz"
    path.parent.mkdir()
    path.with_name("file.json.gz.part").write_bytes(b"other")
    about = {"url": "http://elsewhere", "validator": '"one"', "size": len(CONTENT)}
    path.with_name("file.json.gz.part.json").write_text(json.dumps(about))
    with Server(CONTENT) as server:
        assert get(server, tmp_path) == CONTENT
    assert server.ranges == [None]


def test_a_killed_download_goes_on(tmp_path: Path) -> None:
    def drips(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(CONTENT[:HALF])
        time.sleep(20)

    with Server(CONTENT, drips, whole_or_range) as server:
        target = tmp_path / "dumps" / "file.json.gz"
        code = (
            "import sys, pathlib; from brmrs.ingest.amazon import download as d; "
            "d.fetch(sys.argv[1], pathlib.Path(sys.argv[2]))"
        )
        child = subprocess.Popen([sys.executable, "-c", code, server.url, str(target)])
        part = target.with_name("file.json.gz.part")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (part.exists() and part.stat().st_size):
            time.sleep(0.01)
        child.kill()
        child.wait()
        kept = part.stat().st_size
        assert 0 < kept <= HALF
        assert get(server, tmp_path) == CONTENT
    assert server.ranges == [None, f"bytes={kept}-"]


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file.json.gz"
        with pytest.raises(UserError, match=r"no connection .* is there a network"):
            fetch(url, tmp_path / "file.json.gz", pause=0.01)


def test_both_files_of_a_category(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(CONTENT) as server:
        base = server.url.rpartition("/")[0]
        local = (f"{base}/reviews_{{}}_5.json.gz", f"{base}/meta_{{}}.json.gz")
        monkeypatch.setitem(module.ADDRESSES, "2014", local)
        paths = download("Baby", "2014", tmp_path)
    assert [path.name for path in paths] == ["reviews_Baby_5.json.gz", "meta_Baby.json.gz"]
    assert all(path.read_bytes() == CONTENT for path in paths)


@pytest.mark.parametrize(
    ("category", "generation", "near"),
    [
        ("baby", "2014", "Baby"),
        ("Baby_Product", "2023", "Baby_Products"),
        ("gift cards", "2018", "Gift_Cards"),
        ("../../etc", "2018", "AMAZON_FASHION, All_Beauty"),
    ],
)
def test_an_unknown_category_gets_close_ones(
    tmp_path: Path, category: str, generation: str, near: str
) -> None:
    with pytest.raises(UserError, match=f"not in the data of {generation}; try .*{near}"):
        download(category, generation, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_addresses_are_official_and_of_every_generation() -> None:
    hosts = {"https://snap.stanford.edu", "https://mcauleylab.ucsd.edu"}
    assert set(ADDRESSES) == set(CATEGORIES) == {"2014", "2018", "2023"}
    for reviews, metadata in ADDRESSES.values():
        assert {"/".join(url.split("/")[:3]) for url in (reviews, metadata)} <= hosts
        assert metadata.rpartition("/")[2].startswith("meta_{}.json")
    assert [len(names) for names in CATEGORIES.values()] == [24, 29, 34]
