"""The application that `brmrs up` and `brmrs run` serve, called within this process."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.server.api.clients import OrchestrationClient
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_API_AUTH_STRING, temporary_settings
from starlette.types import ASGIApp

from flows.server import embedded, serve
from flows.server.settings import FolderSettings

SECRET = "brmrs:secret"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    """With a home and a secret of its own; Prefect keeps one application per settings."""
    home = tmp_path_factory.mktemp("prefect")
    with temporary_settings({PREFECT_HOME: home, PREFECT_SERVER_API_AUTH_STRING: SECRET}):
        yield serve.application()


def from_outside(application: ASGIApp, host: str, auth: tuple[str, str] | None) -> int:
    """The status of a request with this Host header."""

    async def ask() -> int:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return (await client.get("/api/admin/version", auth=auth)).status_code

    return asyncio.run(ask())


def test_an_automation_reaches_the_server(application: ASGIApp) -> None:
    """Prefect's automations start runs with this client; without it no event has an effect."""

    async def ask() -> int:
        async with OrchestrationClient() as client:
            return (await client._http_client.get("/admin/version")).status_code

    assert asyncio.run(ask()) == 200


def test_requests_from_outside_need_our_host_name_and_the_secret(
    application: ASGIApp,
) -> None:
    auth = (SECRET.partition(":")[0], SECRET.partition(":")[2])
    assert [from_outside(application, host, auth) for host in serve.HOSTS] == [200, 200]
    assert from_outside(application, "127.0.0.1", None) == 401
    for host in ("evil.example", "prefect-in-memory"):
        assert from_outside(application, host, auth) == 400


def test_several_servers_start_in_one_new_folder(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    settings = FolderSettings(None, None, home, home / "profiles.toml")
    servers = [embedded.EmbeddedServer(settings) for _ in range(4)]
    try:
        for server in servers:
            server.wait_until_healthy()
    finally:
        for server in servers:
            server._process.terminate()
            server._process.wait()
