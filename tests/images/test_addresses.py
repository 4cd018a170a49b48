import asyncio

import httpcore
import pytest
from misbehaving_server import Server

from brmrs.images import addresses
from brmrs.images.addresses import GuardedBackend, RefusedError, is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "2001::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


def connect(backend: GuardedBackend, host: str, port: int) -> None:
    async def attempt() -> None:
        stream = await backend.connect_tcp(host, port, timeout=2.0)
        await stream.aclose()

    asyncio.run(attempt())


def resolves_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Make names resolve to the next answer each time; returns the list of names asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(addresses, "resolve", resolve)
    return asked


def test_a_name_that_resolves_to_a_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Server() as server:
        resolves_to(monkeypatch, ["127.0.0.1"])
        with pytest.raises(RefusedError):
            connect(GuardedBackend(allow_private=False), "shop.example", server.server_port)
        connect(GuardedBackend(allow_private=True), "shop.example", server.server_port)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(RefusedError):
        connect(GuardedBackend(allow_private=False), "shop.example", 80)


def test_a_name_is_resolved_once_so_rebinding_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Server() as server:
        asked = resolves_to(monkeypatch, ["127.0.0.1"], ["10.255.255.1"])
        connect(GuardedBackend(allow_private=True), "shop.example", server.server_port)
        assert asked == ["shop.example"]


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server:
        resolves_to(monkeypatch, ["127.0.0.99", "127.0.0.1"])  # nothing listens at the first
        connect(GuardedBackend(allow_private=True), "shop.example", server.server_port)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "ü" * 70, ".."])
def test_names_without_an_address(host: str) -> None:
    with pytest.raises(httpcore.ConnectError):
        connect(GuardedBackend(allow_private=False), host, 80)


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "017700000001", "localhost"])
def test_other_spellings_of_loopback_are_refused(host: str) -> None:
    with pytest.raises((RefusedError, httpcore.ConnectError)):
        connect(GuardedBackend(allow_private=False), host, 80)
