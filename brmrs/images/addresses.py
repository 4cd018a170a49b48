"""The guard against requests to private networks."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import httpcore

# 6to4, Teredo and NAT64 addresses contain an IPv4 address that a gateway would connect to.
_TUNNELS = tuple(
    ipaddress.IPv6Network(net)
    for net in ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48")
)


class RefusedError(Exception):
    """The address must not be fetched."""


def is_public(address: str) -> bool:
    """Whether an IP address is public.

    Not public are private, loopback, link-local, shared, reserved, multicast and unspecified
    ranges, and IPv6 addresses that a gateway translates to an IPv4 address.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.is_site_local or any(ip in net for net in _TUNNELS):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the order to try them.

    Raises:
        httpcore.ConnectError: it has none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: labels too long for DNS
        raise httpcore.ConnectError(str(error)) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a host once, checks all its addresses, and connects to one of these addresses.

    So a name server that changes its answer in between (DNS rebinding) has no effect. All
    connections are made here, also after redirects.
    """

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that answers.

        Raises:
            RefusedError: any of its addresses is not public, and private ones are not allowed.
            httpcore.ConnectError: it has no address, or no address answers.
        """
        addresses = await resolve(host, port)
        if not self._allow_private and not all(map(is_public, addresses)):
            raise RefusedError(f"{host} has an address outside the public internet")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure
