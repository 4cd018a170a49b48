"""Prefect's settings of this folder, read without importing Prefect, which takes a second."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from brmrs.errors import UserError

FILE = Path("prefect.toml")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class FolderSettings:
    """Prefect's settings from the environment and from prefect.toml.

    Attributes:
        named_url: the API's address in the environment.
        url: the API's address; the environment wins over prefect.toml.
        home: Prefect's folder with the SQLite database.
        profiles: the TOML file with Prefect's profiles; ours holds the secret.
        prefect_finds_profiles: False if `prefect` commands would read another file.
    """

    named_url: str | None
    url: str | None
    home: Path
    profiles: Path
    prefect_finds_profiles: bool = True


class _Api(BaseModel):
    url: str | None = None


class _File(BaseModel):
    """The fields of prefect.toml that are read."""

    home: str = "~/.prefect"
    profiles_path: str | None = None
    api: _Api = _Api()


def read() -> FolderSettings:
    """Read them.

    Raises:
        UserError: prefect.toml is not a TOML file, or has a value of a wrong type.
    """
    try:
        file = _File.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8")))
    except FileNotFoundError:
        file = _File()
    except ValidationError as error:
        (first, *_) = error.errors()
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{FILE}: {field}: {first['msg']}; correct it") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{FILE}: {error}; correct it") from error
    named = os.environ.get("PREFECT_API_URL") or None
    home = Path(os.environ.get("PREFECT_HOME") or file.home).expanduser()
    profiles = os.environ.get("PREFECT_PROFILES_PATH") or file.profiles_path
    return FolderSettings(
        named_url=named,
        url=named or file.api.url,
        home=home,
        profiles=Path(profiles).expanduser() if profiles else home / "profiles.toml",
        prefect_finds_profiles=bool(profiles or os.environ.get("PREFECT_HOME")),
    )


def bypass_proxy() -> None:
    """Bypass HTTP proxies for servers on this machine, as requests contain the secret."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        if LOOPBACK not in hosts:
            os.environ[name] = ",".join([*hosts, LOOPBACK])
