"""Who may call the service: names of the host, and the token."""

import hashlib
import hmac
import ipaddress
import stat
from dataclasses import dataclass
from pathlib import Path

from brmrs.errors import UserError
from brmrs.suggest import instead

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY = ("0.0.0.0", "::")  # every address of the machine
COOKIE = "brmrs-session"
SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True)
class Access:
    """What a request must have to be answered.

    Attributes:
        hosts: names under which the service may be called, without the port. A web page whose name
            resolves to this machine (DNS rebinding) is called by another name.
        token: that callers send; empty: none is needed.
    """

    hosts: frozenset[str]
    token: str = ""

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names this service."""
        name = header.strip().lower()
        bare, _, _ = name[1:].partition("]") if name.startswith("[") else name.partition(":")
        return bare in self.hosts

    def admits(self, authorization: str, cookies: str) -> bool:
        """Whether the headers hold the token, or the session that `session` names."""
        if not self.token:
            return True
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and _equal(given.strip(), self.token):
            return True
        pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
        return any(name == COOKIE and _equal(value, self.session) for name, _, value in pairs)

    @property
    def session(self) -> str:
        """The value of the cookie; the token cannot be computed from it."""
        return hmac.new(self.token.encode(), b"brmrs session", hashlib.sha256).hexdigest()


def _equal(given: str, wanted: str) -> bool:
    """In a time that does not depend on the first difference."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def make(host: str, allowed: tuple[str, ...], token_file: Path | None) -> Access:
    """The access for an address to listen on.

    Args:
        host: address or name to listen on.
        allowed: further names under which it is called.
        token_file: holds the token; None: no token.

    Raises:
        UserError: other machines could call without a token, or the file is unsuitable.
    """
    token = _read_token(token_file) if token_file else ""
    if not is_loopback(host) and not token:
        raise UserError(
            f"--host {host}: other machines could read every user's history; name a file with a "
            "token (--token-file), or listen on 127.0.0.1"
        )
    if host in EVERY and not allowed:
        raise UserError(
            f"--host {host}: name the host under which the service is called, --allow-host NAME"
        )
    named = {name.lower().strip("[]") for name in allowed}
    own = set() if host in EVERY else {host.lower()}
    return Access(frozenset({*LOOPBACK, *own, *named}), token)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_token(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UserError(f"--token-file {path}: it is no regular file")
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        advice = instead(path, "name a file that can be read")
        raise UserError(f"--token-file {path}: {error.strerror}; {advice}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--token-file {path}: it is no UTF-8 text") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UserError(f"--token-file {path}: other users may read it; run chmod 600 {path}")
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UserError(
            f"--token-file {path}: expected one line of at least {SHORTEST_TOKEN} ASCII "
            "characters, such as `openssl rand -hex 32` prints"
        )
    return token
