"""Locks at a shared address, a folder or a bucket of a real server."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3_server import BUCKET, s3_server

from brmrs.store.shared import lease
from brmrs.store.shared.address import opened
from brmrs.store.shared.lease import Lease


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "shared")
    request.getfixturevalue("server")
    return f"{BUCKET}/{tmp_path.name}/{tmp_path.parent.name}"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short lease."""
    monkeypatch.setattr(lease, "LEASE", 0.6)
    monkeypatch.setattr(lease, "POLL", 0.05)


def test_only_one_candidate_gets_the_lock(place: str) -> None:
    candidates = [Lease(opened(place), "toy/key", f"run {n}") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(Lease.acquire, candidates))
    assert sum(got) == 1
    holder = candidates[got.index(True)]
    other = Lease(opened(place), "toy/key", "another")
    assert not other.acquire()
    assert other.holder.startswith(f"run {got.index(True)} on ")
    holder.release()
    assert other.acquire()
    other.release()
    assert opened(place).sizes("locks") == {}


@pytest.mark.usefixtures("fast")
def test_a_lock_that_its_holder_renews_is_not_taken_over(place: str) -> None:
    holder, other = (Lease(opened(place), "toy/key", name) for name in ("holder", "other"))
    assert holder.acquire()
    end = time.monotonic() + 3 * lease.LEASE
    while time.monotonic() < end:
        assert not other.acquire()
        time.sleep(lease.POLL)
    holder.release()


@pytest.mark.usefixtures("fast")
def test_a_lock_without_a_sign_of_its_holder_is_taken_over(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    dead, other = (Lease(opened(place), "toy/key", name) for name in ("dead", "other"))
    assert dead.acquire()
    dead._ended.set()  # as after a kill: nothing is written any more
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        while not other.acquire():
            time.sleep(lease.POLL)
    assert time.monotonic() - began >= lease.LEASE
    assert "no sign of dead on " in caplog.text
    assert list(opened(place).sizes("locks")) == ["toy/key/2"]
    other.release()


@pytest.mark.usefixtures("fast")
def test_a_holder_that_was_only_slow_learns_that_it_lost_the_lock(place: str) -> None:
    slow = Lease(opened(place), "toy/key", "slow")
    assert slow.acquire()
    opened(place).create("locks/toy/key/2", b"another")
    end = time.monotonic() + 5
    while not slow.lost and time.monotonic() < end:
        time.sleep(0.05)
    assert slow.lost
    slow.release()
    assert list(opened(place).sizes("locks")) == ["toy/key/2"]
