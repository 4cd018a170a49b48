"""Hosts that ask for patience, or fail, for ever."""

import logging
import time
from pathlib import Path

import pytest
from misbehaving_server import Server, config, served  # noqa: F401 - a fixture

from brmrs.images import fetch
from brmrs.images.decode import Picture, Status
from brmrs.images.picture_store import PictureStore
from brmrs.images.stage import gather


def fetched(
    server: Server, path: str, tmp_path: Path, count: int, **changes: object
) -> list[Picture]:
    urls = [(server.url(f"{path}/{n}"),) for n in range(count)]
    return gather([str(n) for n in range(count)], urls, config(**changes), PictureStore(tmp_path))


@pytest.mark.parametrize("path", ["broken", "busy"])
def test_a_host_that_is_always_busy_is_given_up(
    path: str, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = fetched(server, path, tmp_path, 200)
    assert {picture.status for picture in found} == {Status.BUSY}
    assert len(server.log) <= fetch.GIVE_UP_AFTER + config().per_host
    assert "images: 1 hosts were given up in this run: 127.0.0.1 (busy)" in caplog.text


def test_a_host_that_answers_in_between_is_not_given_up(server: Server, tmp_path: Path) -> None:
    paths = [f"broken/{n}" if n % 2 else f"numbered/{n}" for n in range(40)]
    urls = [(server.url(path),) for path in paths]
    found = gather(paths, urls, config(retries=0, concurrency=1), PictureStore(tmp_path))
    assert [p.status for p in found] == [Status.OK, Status.BUSY] * 20


def test_a_host_that_asks_for_hours_is_given_up_at_once(server: Server, tmp_path: Path) -> None:
    started = time.monotonic()
    found = fetched(server, "busy-for-hours", tmp_path, 50)
    assert time.monotonic() - started < 60
    assert {picture.status for picture in found} == {Status.BUSY}
    assert len(server.log) <= config().per_host


def test_max_wait_bounds_the_waiting_for_all_hosts_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetch, "BACKOFF", 0.02)
    servers = [Server() for _ in range(5)]
    urls = [(server.url(f"busy-for-a-second/{n}"),) for n in range(3) for server in servers]
    started = time.monotonic()
    with caplog.at_level(logging.INFO, logger="brmrs.images.fetch"):
        for server in servers:
            server.__enter__()
        settings = config(max_wait=1.5, concurrency=1)
        found = gather([str(n) for n in range(15)], urls, settings, PictureStore(tmp_path))
        for server in servers:
            server.__exit__()
    assert time.monotonic() - started < 4  # five hosts, each a second at a time, would take longer
    assert {picture.status for picture in found} == {Status.BUSY}
    assert "images: 5 hosts were given up in this run" in caplog.text
    assert "images: waited 1 s for hosts that asked for it, of 2 (images.max_wait)" in caplog.text
