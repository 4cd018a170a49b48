"""Prefect's settings of this folder, read without importing Prefect, which takes a second."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brmrs.errors import UserError

FILE = Path("prefect.toml")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class FolderSettings:
    """What Prefect reads from the environment and from prefect.toml.

    Attributes:
        named_url: the API's address in the environment.
        url: the API's address; the environment wins over prefect.toml.
        home: Prefect's folder with the SQLite database.
        profiles: the TOML file with Prefect's profiles; ours holds the secret.
    """

    named_url: str | None
    url: str | None
    home: Path
    profiles: Path


def read() -> FolderSettings:
    """Read them.

    Raises:
        UserError: prefect.toml is not a TOML file.
    """
    try:
        given: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        given = {}
    except (OSError, ValueError) as error:
        raise UserError(f"{FILE}: {error}; correct it") from error
    named = os.environ.get("PREFECT_API_URL") or None
    home = Path(os.environ.get("PREFECT_HOME") or given.get("home", "~/.prefect")).expanduser()
    profiles = os.environ.get("PREFECT_PROFILES_PATH") or given.get("profiles_path")
    api = given.get("api", {})
    return FolderSettings(
        named_url=named,
        url=named or (api.get("url") if isinstance(api, dict) else None),
        home=home,
        profiles=Path(profiles).expanduser() if profiles else home / "profiles.toml",
    )


def bypass_proxy() -> None:
    """Let no HTTP proxy see requests to this machine's own servers: they carry the secret."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        if LOOPBACK not in hosts:
            os.environ[name] = ",".join([*hosts, LOOPBACK])
