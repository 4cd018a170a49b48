"""`brmrs serve` and what docs/service.md says about it."""

import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from served_store import Maker, running
from typer.main import get_command

from brmrs.errors import UserError
from brmrs.service import limits, process
from brmrs.service.process import Options
from brmrs.store.artifacts import ArtifactStore
from flows.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    store = ArtifactStore(tmp_path_factory.mktemp("service") / "artifacts")
    Maker(store, "only").write()
    return store


@pytest.fixture(scope="module")
def client(store: ArtifactStore) -> Iterator[httpx.Client]:
    with running(store) as client:
        yield client


def options(store: ArtifactStore, **changed: object) -> Options:
    values = {
        "artifacts": store.root,
        "run": None,
        "data": None,
        "host": "127.0.0.1",
        "port": 0,
        "allowed": (),
        "token_file": None,
        "workers": 1,
    }
    return Options(**{**values, **changed})  # type: ignore[arg-type]


def start(options: Options) -> None:
    process.run(options, lambda line: pytest.fail(f"it served: {line}"))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"run": "nope"}, "brmrs runs"),
        ({"data": "nope"}, "no finished run of nope"),
        ({"host": "0.0.0.0"}, "--token-file"),
        ({"host": "192.0.2.7", "token_file": Path("gone")}, "--token-file gone: No such file"),
        ({"host": "no.such.host.invalid", "token_file": Path("token")}, "no.such.host.invalid"),
    ],
)
def test_what_the_user_can_fix_is_one_line(
    store: ArtifactStore,
    changed: dict[str, object],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("0123456789abcdef")
    Path("token").chmod(0o600)
    with pytest.raises(UserError, match=re.escape(named)):
        start(options(store, **changed))


def test_an_empty_store_and_a_taken_port(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished run"):
        start(options(ArtifactStore(tmp_path)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}: .*--port"):
            start(options(store, port=port))


def test_connections_send_answers_at_once() -> None:
    """Otherwise the second part of each answer waits for the client, 40 ms."""
    with (
        process.listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_service_imports_nothing_of_the_pipeline() -> None:
    code = "import brmrs.service.process, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "uvicorn" in loaded
    assert not loaded & {
        "prefect",
        "polars",
        "httpx",
        "torchvision",
        "altair",
        "vl_convert",
        "optuna",
        "faiss",
    }


def test_the_endpoints_of_the_page_are_those_of_the_service(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    served = {
        f"{method.upper()} {re.sub(r'{user}', '{id}', path)}"
        for path, operations in paths.items()
        for method in operations
    }
    table = PAGE.partition("| endpoint | answer |")[2].partition("\n\n")[0]
    listed = {
        name.partition("?")[0] for name in re.findall(r"`((?:GET|POST|DELETE) [^`]+)`", table)
    }
    assert listed - {"GET /"} == served


def test_the_parameters_in_the_table_exist(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    table = PAGE.partition("| endpoint | answer |")[2].partition("\n\n")[0]
    rows = re.findall(r"`GET ([^`?]+)\?([^`]+)`", table)
    assert len(rows) >= 6
    for path, query in rows:
        operation = paths[path.replace("{id}", "{user}")]["get"]
        known = {parameter["name"] for parameter in operation["parameters"]}
        assert {pair.partition("=")[0] for pair in query.split("&")} <= known


def test_the_calls_in_the_page_are_answered(client: httpx.Client, store: ArtifactStore) -> None:
    """With a user and an item of this store in place of those of the sample."""
    text = PAGE.replace("\\\n", " ")
    calls = [
        shlex.split(line) for line in re.findall(r"^curl (.*127\.0\.0\.1:8000.*)$", text, re.M)
    ]
    assert len(calls) == 4
    for words in calls:
        url = next(word for word in words if word.startswith("http")).partition(":8000")[2]
        body = words[words.index("-d") + 1] if "-d" in words else ""
        url = re.sub(r"B0\w{8}", "A%2F00001", re.sub(r"AE\w{26}", "U00001", url))
        body = re.sub(r"B0\w{8}", "A/00001", body)
        method = "POST" if body else "GET"
        headers = {"Content-Type": "application/json"}
        found = client.request(method, url, content=body, headers=headers)
        assert found.status_code == 200, found.text
        assert len(next(value for value in found.json().values() if isinstance(value, list))) >= 1


def test_the_commands_in_the_page_parse() -> None:
    command = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    called = re.findall(r"brmrs serve((?: --?[\w-]+| [\w./-]+)*)", PAGE)
    assert len(called) >= 5
    for words in called:
        command.make_context("serve", shlex.split(words))


def test_the_limits_in_the_page_are_those_of_the_code() -> None:
    table = PAGE.partition("| limit | value |")[2].partition("\n\n")[0]
    for value in (
        limits.MOST_ITEMS,
        limits.MOST_HISTORY,
        limits.MOST_EXPLAINED,
        limits.MOST_WAITING,
        limits.LONGEST_ID,
        limits.LONGEST_QUERY,
        limits.MOST_FOUND,
        f"{limits.MOST_BODY // 1024} KiB",
        f"{limits.BODY_SECONDS:.0f} seconds",
        f"{process.MOST_CONNECTIONS:,}",
        f"{limits.MOST_PICTURE // 2**20} MiB",
    ):
        assert re.search(rf"\b{value}\b", table), value
    assert limits.MOST_FEATURES == 2**30
    assert f"Up to {limits.EXACT_ITEMS:,} items" in PAGE
    assert f"finds {limits.LEAST_RECALL:.0%}".replace("%", " %") in PAGE


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    found = re.search(r"```ini title=\"/etc/systemd/system/(.*?)\"\n(.*?)```", PAGE, re.S)
    assert found
    unit = tmp_path / found[1]
    unit.write_text(found[2].replace("/opt/brmrs/bin/brmrs", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found[1] not in done.stderr, done.stderr
