"""Identify the server at an address: Prefect with or without access for us, or another."""

import base64
import json
import os
import urllib.error
import urllib.request
from enum import Enum
from http.client import HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECONDS = 2.0
ANSWER_BYTES = 4096
SOCKETS = Path("/proc/net/tcp")  # of Linux
LISTENING = "0A"


class Who(Enum):
    """The kind of server at an address."""

    NOBODY = "nobody answers"
    ANOTHER_PROGRAM = "another program answers"
    ANOTHER_USER = "a program of another user answers"
    ANOTHER_FOLDER = "a Prefect server with another secret answers"
    OURS = "our Prefect server answers"


def who_answers(url: str, auth: str | None) -> Who:
    """Identify the server at the address of an API.

    The secret is sent only to servers that respond like Prefect, and on this machine only to
    programs of the same user or root.
    """
    try:
        if _get(f"{url}/health") is not True:
            return Who.ANOTHER_PROGRAM
        if _of_another_user(url):
            return Who.ANOTHER_USER
        version = _get(f"{url}/version", auth)
    except urllib.error.HTTPError as error:
        refused = error.code == 401 and b"exception_message" in error.read(ANSWER_BYTES)
        return Who.ANOTHER_FOLDER if refused else Who.ANOTHER_PROGRAM
    except (HTTPException, ValueError):  # not HTTP, not JSON
        return Who.ANOTHER_PROGRAM
    except OSError:
        return Who.NOBODY
    return Who.OURS if isinstance(version, str) else Who.ANOTHER_PROGRAM


def _get(url: str, auth: str | None = None) -> Any:
    """The JSON value at an address."""
    headers = {}
    if auth:
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        return json.loads(response.read(ANSWER_BYTES))


def _of_another_user(url: str) -> bool:
    """Whether a program of another user than us and root listens at this loopback address."""
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else str(parts.hostname)
    try:
        if not ip_address(host).is_loopback:
            return False
        lines = SOCKETS.read_text(encoding="ascii").splitlines()[1:]
    except (OSError, ValueError):  # a name, or another system
        return False
    rows = [line.split() for line in lines]
    port = f"{parts.port or 80:04X}"
    users = {int(row[7]) for row in rows if row[1].endswith(f":{port}") and row[3] == LISTENING}
    return bool(users) and not users & {0, os.geteuid()}
