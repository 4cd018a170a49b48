import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import PHOTO, STATUSES, Server, config, served  # noqa: F401 - a fixture

from brmrs.images import addresses, fetch
from brmrs.images.decode import Picture, Status
from brmrs.images.picture_store import PictureStore
from brmrs.images.stage import gather


def one(url: str, tmp_path: Path, **changes: object) -> Picture:
    return gather(["A"], [(url,)], config(**changes), PictureStore(tmp_path))[0]


TRIES = {
    "broken-once": 2,
    "busy-once": 2,
    "busy-nonsense": 2,
    "busy-beyond-time": 2,
    "broken": 3,
    "cut": 3,
    "cut-chunks": 3,
    "endless-headers": 3,
    "split-header": 3,
    "hang-up": 3,
    "not-http": 3,
    "loop": fetch.MAX_REDIRECTS + 1,
}


@pytest.mark.parametrize("path", STATUSES)
def test_each_fault_of_a_server_has_its_status(path: str, server: Server, tmp_path: Path) -> None:
    url = server.url(path)
    picture = one(url, tmp_path)
    assert picture.status == STATUSES[path]
    assert picture.source == url
    assert server.count(path) == TRIES.get(path, 1)
    stored = [file.read_bytes() for file in tmp_path.glob("files/*/*")]
    assert stored == ([PHOTO] if picture.status == Status.OK else [])


def test_retry_after_is_respected(server: Server, tmp_path: Path) -> None:
    one(server.url("busy-once"), tmp_path)
    assert server.times[1] - server.times[0] >= 1.0


def test_an_endless_body_ends_at_the_limit_not_at_the_timeout(
    server: Server, tmp_path: Path
) -> None:
    never = 3600
    assert one(server.url("endless"), tmp_path, timeout=never).status == Status.TOO_LARGE


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.jpg",
        "http://",
        "http:///a.jpg",
        "http://[::1",
        "http://a:b:c/",
        "http://example.org:99999/",
        "http://exa\nmple.org/\r\nX: y",
        "http://127.0.0.1/photo\r\nX: y",
        "http://127.0.0.1/photo\nHost: example.org",
        "http://xn--/a.jpg",
        "http://xn--\u00fc/a.jpg",
        "http://" + "a" * 100_000,
        "http://\ud800.org/",
    ],
)
def test_strings_that_are_not_web_addresses_are_refused(url: str, tmp_path: Path) -> None:
    assert one(url, tmp_path).status == Status.REFUSED


@pytest.mark.parametrize(
    "name",
    [
        "",
        "no address",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "//example.org/a.jpg",
        "/a.jpg",
        "../../a.jpg",
        "\x00",
    ],
)
def test_other_strings_are_names_of_files_and_never_fetched_or_opened(
    name: str, tmp_path: Path
) -> None:
    assert one(name, tmp_path).status == Status.MISSING


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/a.jpg", "http://127.0.0.1:9/a.jpg"])
def test_hosts_that_do_not_exist_are_unreachable(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "BACKOFF", 0.02)
    assert one(url, tmp_path).status == Status.UNREACHABLE


@given(st.text(max_size=40), st.text(max_size=20))
def test_odd_addresses_and_retry_after_headers_never_raise(words: str, base: str) -> None:
    url = fetch._parse(f"http://example.org/{base}")
    for address in (words, f"http://{words}", f"//{words}", f"http://xn--{words}"):
        fetch._parse(address)
        fetch._parse(address, base=url)
    assert fetch._seconds(words) >= 0


@given(
    st.from_regex(r"(Mon, )?\d{1,3} (Jan|Foo) \d{1,20} \d{1,4}:\d{1,20}(:\d{1,20})? [+-]\d{1,20}")
)
def test_odd_dates_in_retry_after_never_raise(date: str) -> None:
    assert fetch._seconds(date) >= 0


LOOPBACK = (
    "127.0.0.1",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "0",
    "0.0.0.0",
    "[::]",
    "user:secret@127.0.0.1",
    "example.org@127.0.0.1",
    "example.org\\@127.0.0.1",
    "127\u30020\u30020\u30021",
)
NOT_EVERYWHERE = ("017700000001", "0177.1", "[::127.0.0.1]", "[::1%00]")  # known as an address
NOWHERE = (Status.REFUSED, Status.UNREACHABLE)


def test_no_spelling_of_a_loopback_address_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "BACKOFF", 0.02)
    try:
        server = Server("::")  # IPv4, too
    except OSError:
        pytest.skip("this system has no IPv6")
    with server:
        urls = [f"http://{host}:{server.server_port}/photo" for host in LOOPBACK]
        for url in (*urls, urls[0].replace("http", "https")):
            assert one(url, tmp_path, allow_private=False).status == Status.REFUSED, url
        for host in NOT_EVERYWHERE:
            url = f"http://{host}:{server.server_port}/photo"
            assert one(url, tmp_path, allow_private=False).status in NOWHERE, url
        assert server.log == []
        for number, url in enumerate(urls):  # and all of these would have
            assert one(url, tmp_path / str(number)).status == Status.OK, url
        assert len(server.log) == len(urls)
    names = {name.lower() for headers in server.headers for name in headers}
    assert not names & {"authorization", "cookie", "referer"}


def test_a_name_that_resolves_to_a_private_address_at_the_second_try_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if 127.0.0.1 lay in the public internet: DNS rebinding."""
    public = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda ip: ip == "127.0.0.1" or public(ip))
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    monkeypatch.setattr(addresses, "resolve", resolve)
    try:
        inner = Server("127.0.0.2", server.server_port)
    except OSError:
        pytest.skip("this system has only one loopback address")
    with inner:
        url = f"http://shop.example:{server.server_port}/hang-up"
        assert one(url, tmp_path, allow_private=False).status == Status.REFUSED
        assert server.log == ["/hang-up"]
        assert inner.log == []
        assert asked == ["shop.example"] * 2


def test_a_redirect_to_a_private_address_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if 127.0.0.1 lay in the public internet; 127.0.0.2 is as private as ever.
    public = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda ip: ip == "127.0.0.1" or public(ip))
    try:
        inner = Server("127.0.0.2")
    except OSError:
        pytest.skip("this system has only one loopback address")
    with inner:
        url = server.url(f"redirect-far?{inner.url('photo')}")
        assert one(url, tmp_path, allow_private=False).status == Status.REFUSED
        assert one(server.url("photo"), tmp_path, allow_private=False).status == Status.OK
        assert inner.log == []
        assert one(url, tmp_path, allow_private=True).status == Status.REFUSED  # remembered
        (again := tmp_path / "again").mkdir()
        assert one(url, again, allow_private=True).status == Status.OK
        assert inner.log == ["/photo"]


def test_the_environment_sets_no_proxy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert one(server.url("photo"), tmp_path).status == Status.OK
    assert [headers["User-Agent"].partition("/")[0] for headers in server.headers] == ["brmrs"]


def test_the_first_good_address_counts_else_the_first_fault_is_reported(
    server: Server, tmp_path: Path
) -> None:
    good = tuple(map(server.url, ("absent", "html", "numbered/1", "numbered/2")))
    bad = tuple(map(server.url, ("html", "absent")))
    both = gather(["A", "B"], [good, bad], config(), PictureStore(tmp_path))
    assert [picture.status for picture in both] == [Status.OK, Status.NOT_AN_IMAGE]
    assert [picture.source for picture in both] == [good[2], bad[0]]
    assert server.count("numbered/2") == 0


def test_requests_at_once_are_bounded_per_host(server: Server, tmp_path: Path) -> None:
    urls = [(server.url(f"slow/{n}"),) for n in range(12)]
    found = gather([str(n) for n in range(12)], urls, config(per_host=3), PictureStore(tmp_path))
    assert {picture.status for picture in found} == {Status.OK}
    assert server.most_at_once == 3


def test_a_transient_fault_is_reported_before_a_final_one(server: Server, tmp_path: Path) -> None:
    urls = tuple(map(server.url, ("absent", "hang-up", "broken")))
    (found,) = gather(["A"], [urls], config(retries=0), PictureStore(tmp_path))
    assert (found.status, found.source) == (Status.UNREACHABLE, urls[1])


def test_the_rate_holds_over_all_requests(server: Server, tmp_path: Path) -> None:
    urls = [(server.url(f"redirect-far?/numbered/{n}"),) for n in range(4)]
    found = gather(list("abcd"), urls, config(rate=20), PictureStore(tmp_path))
    assert {picture.status for picture in found} == {Status.OK}
    times = sorted(server.times)
    assert len(times) == 8  # redirects count
    assert times[-1] - times[0] >= 0.9 * 7 / 20


def test_requests_at_once_are_bounded_overall(server: Server, tmp_path: Path) -> None:
    urls = [(server.url(f"slow/{n}"),) for n in range(6)]
    gather(list("abcdef"), urls, config(concurrency=2), PictureStore(tmp_path))
    assert server.most_at_once == 2


def test_dead_hosts_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BACKOFF", 0.02)
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(addresses, "resolve", resolve)
    urls = [(f"http://dead.example:9/{n}.jpg",) for n in range(2_000)]
    found = gather([str(n) for n in range(2_000)], urls, config(), PictureStore(tmp_path))
    assert {picture.status for picture in found} == {Status.UNREACHABLE}
    assert len(asked) <= fetch.GIVE_UP_AFTER + config().per_host


def test_a_killed_run_resumes(server: Server, tmp_path: Path) -> None:
    urls = [
        (server.url(path),)
        for path in ("numbered/1", "numbered/2", "html", "absent", "broken", "hang-up")
    ]
    asins = list("ABCDEF")
    before = gather(asins[:4], urls[:4], config(retries=0), PictureStore(tmp_path))
    server.log.clear()
    whole = gather(asins, urls, config(retries=0), PictureStore(tmp_path))
    assert whole[:4] == before
    assert sorted(server.log) == ["/broken", "/hang-up"]
    server.log.clear()
    assert gather(asins, urls, config(retries=0), PictureStore(tmp_path)) == whole
    assert sorted(server.log) == ["/broken", "/hang-up"]  # these may have passed; asked again


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "damage", ["bytes", "no bytes", "record", "foreign record", "path", "pipe", "pipe of bytes"]
)
def test_a_damaged_store_is_not_used(damage: str, server: Server, tmp_path: Path) -> None:
    first = one(server.url("photo"), tmp_path)
    (content,) = tmp_path.glob("files/*/*")
    (record,) = tmp_path.glob("fetched/*/*")
    if damage == "bytes":
        content.write_bytes(PHOTO[:-1] + b"x")
    elif damage == "no bytes":
        content.unlink()
    elif damage == "record":
        record.write_bytes(record.read_bytes()[:20])
    elif damage.startswith("pipe"):
        path = content if damage == "pipe of bytes" else record
        path.unlink()
        os.mkfifo(path)
    elif damage == "path":
        (tmp_path / "files" / "secret").write_bytes(PHOTO)
        forged = json.loads(record.read_text()) | {"extension": "/../../secret"}
        record.write_text(json.dumps(forged))
    else:
        record.write_text('{"status": "ok", "colour": "red"}')
    assert one(server.url("photo"), tmp_path) == first
    assert server.count("photo") == 2
    assert content.read_bytes() == PHOTO
