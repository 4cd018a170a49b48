"""What the service refuses: other hosts, missing tokens, bodies and numbers beyond the limits."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from served_store import Maker, running

from brmrs.errors import UserError
from brmrs.service import guard, limits
from brmrs.service.access import Access, make
from brmrs.store.artifacts import ArtifactStore

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    store = ArtifactStore(tmp_path_factory.mktemp("service") / "artifacts")
    Maker(store, "served").write()
    return store


@pytest.fixture(scope="module")
def client(store: ArtifactStore) -> Iterator[httpx.Client]:
    with running(store) as client:
        yield client


@pytest.fixture(scope="module")
def closed(store: ArtifactStore) -> Iterator[httpx.Client]:
    """A server that needs a token, also called shop.example."""
    access = Access(frozenset({"127.0.0.1", "shop.example"}), TOKEN)
    with running(store, access=access) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil:8000", "", "[::2]"]
)
def test_another_host_name_is_refused(client: httpx.Client, host: str) -> None:
    for path in ("/", "/healthz", "/v1/status", "/metrics"):
        found = client.get(path, headers={"Host": host})
        assert found.status_code == 421
        assert found.json()["error"].startswith("the Host header")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_the_names_of_this_machine_are_known(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_every_answer_has_the_security_headers(client: httpx.Client) -> None:
    for found in (
        client.get("/"),
        client.get("/v1/status"),
        client.get("/nowhere"),
        client.put("/healthz"),
        client.get("/v1/users", params={"limit": 0}),
        client.get("/healthz", headers={"Host": "evil.example"}),
    ):
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in found.headers
        assert found.headers["cache-control"] in ("no-store", "no-cache")


def test_without_the_token_nothing_of_a_run_is_given(closed: httpx.Client) -> None:
    for path in ("/v1/status", "/v1/users", "/v1/pictures/A%2F00000", "/metrics", "/v1/nowhere"):
        for value in (
            "",
            "Bearer",
            "Bearer wrong",
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            "Bearer é",
        ):
            found = closed.get(path, headers={b"Authorization": value.encode()})
            assert found.status_code == 401, (path, value)
            assert found.headers["www-authenticate"] == "Bearer"
        assert closed.get(path, headers={"Authorization": f"bearer {TOKEN}"}).status_code != 401
    for path in ("/", "/healthz", "/openapi.json"):
        assert closed.get(path).status_code == 200
    assert closed.post("/v1/recommendations", json={"history": ["A/00001"]}).status_code == 401


def test_a_session_stands_for_the_token(closed: httpx.Client) -> None:
    assert closed.post("/v1/session").status_code == 401
    opened = closed.post("/v1/session", headers={"Authorization": f"Bearer {TOKEN}"})
    assert opened.status_code == 204
    cookie = opened.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert TOKEN not in cookie
    assert closed.get("/v1/status").status_code == 200
    assert closed.get("/v1/pictures/A%2F00000").status_code == 200
    closed.delete("/v1/session")
    assert closed.get("/v1/status").status_code == 401
    closed.cookies.clear()
    for forged in (TOKEN, "", "0" * 64):
        found = closed.get("/v1/status", headers={"Cookie": f"brmrs-session={forged}"})
        assert found.status_code == 401


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/users?limit=0", "limit"),
        ("/v1/users?limit=101", "limit"),
        ("/v1/users?limit=x", "limit"),
        (f"/v1/users?query={'x' * 513}", "query"),
        ("/v1/users/U00001/recommendations?k=0", "k"),
        ("/v1/users/U00001/recommendations?k=201", "k"),
        ("/v1/users/U00001/recommendations?exclude_seen=perhaps", "exclude_seen"),
        (f"/v1/users/{'x' * 513}/history", "user"),
        ("/v1/items/A%2F00001/similar?modality=smell", "modality"),
        ("/v1/search", "q"),
        (f"/v1/search?q={'x' * 201}", "q"),
        ("/v1/explain?user=U00001", "item"),
        (f"/v1/explain?item=A%2F00001&{'&'.join(['history=x'] * 501)}", "history"),
    ],
)
def test_a_parameter_beyond_its_limit_is_named(client: httpx.Client, path: str, field: str) -> None:
    found = client.get(path)
    assert found.status_code == 422
    assert found.json()["error"].startswith(f"{field}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"history": []}',
        b'{"history": "A/00001"}',
        b'{"history": [1]}',
        b'{"history": [""]}',
        b'{"history": ["\\ud800"]}',
        b'{"history": ["A/00001"], "k": 201}',
        b'{"history": ["A/00001"], "k": 1e400}',
        b'{"history": ["A/00001"], "depth": 1}',
        b'{"history": ["A/00001"], "branch": null}',
        b'\xff\xfe{"history"',
        b"[" * 50_000,
        b'{"history": [' + b",".join([b'"x"'] * 501) + b"]}",
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_a_bad_body_is_a_clear_line(client: httpx.Client, body: bytes) -> None:
    found = client.post(
        "/v1/recommendations", content=body, headers={"Content-Type": "application/json"}
    )
    assert found.status_code in (400, 422), found.text
    error = found.json()["error"]
    assert error
    assert "\n" not in error


def test_a_large_body_is_refused_before_it_is_read(client: httpx.Client) -> None:
    large = b" " * (limits.MOST_BODY + 1)
    assert client.post("/v1/recommendations", content=large).status_code == 413

    def parts() -> Iterator[bytes]:  # sent in chunks, so without Content-Length
        for _ in range(64):
            yield b" " * 4096

    assert client.post("/v1/recommendations", content=parts()).status_code == 413


def test_a_body_that_does_not_arrive_is_given_up(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    head = b"POST /v1/recommendations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as raw:
        raw.sendall(head)
        assert raw.recv(1000).startswith(b"HTTP/1.1 408")


def test_too_many_requests_at_once_are_turned_away(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MOST_WAITING", 0)
    found = client.get("/v1/status")
    assert (found.status_code, found.headers["retry-after"]) == (503, "1")


def token_file(folder: Path, text: str = TOKEN, mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_other_machines_need_a_token(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "shop.example"):
        with pytest.raises(UserError, match="--token-file"):
            make(host, ("shop.example",), None)
    with pytest.raises(UserError, match="--allow-host"):
        make("0.0.0.0", (), token_file(tmp_path))
    access = make("0.0.0.0", ("Shop.example",), token_file(tmp_path))
    assert access.hosts == {"127.0.0.1", "localhost", "::1", "shop.example"}
    assert access.token == TOKEN
    assert make("127.0.0.1", (), None).token == ""


@pytest.mark.parametrize(
    ("text", "mode", "named"),
    [
        (TOKEN, 0o644, "chmod 600"),
        ("short", 0o600, "at least 16"),
        ("", 0o600, "at least 16"),
        ("two lines of\ntoken text", 0o600, "one line"),
        ("ein langer Schlüssel", 0o600, "ASCII"),
    ],
)
def test_an_unsuitable_token_file_is_refused(
    tmp_path: Path, text: str, mode: int, named: str
) -> None:
    with pytest.raises(UserError, match=named):
        make("127.0.0.1", (), token_file(tmp_path, text, mode))
    with pytest.raises(UserError, match="no-such"):
        make("127.0.0.1", (), tmp_path / "no-such")
    with pytest.raises(UserError, match="regular"):
        make("127.0.0.1", (), tmp_path)
