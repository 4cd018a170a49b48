"""The secret of this folder's Prefect server, in a folder that other users cannot read.

Prefect's server runs shell commands for every caller of its API, so every caller has to
authenticate. The secret is in a profile of Prefect. `prefect` commands in the folder find it by
`profiles_path` in prefect.toml.
"""

import os
import secrets
import stat
import tomllib
import uuid
from pathlib import Path

import toml
from pydantic import BaseModel, ValidationError

from brmrs.errors import UserError
from brmrs.system.files import replacing

PROFILE = "brmrs"
CLIENT, SERVER = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
UMASK = OTHERS  # of a server's process: only the user can read its database
PROBE_BYTES = 2 * 2**20  # approximate size of a new database


class _Profiles(BaseModel):
    """The file: settings by profile, and the active profile. Prefect ignores other entries."""

    active: str = PROFILE
    profiles: dict[str, dict[str, str | int | float]] = {}

    @property
    def settings(self) -> dict[str, str | int | float]:
        """The settings of the active profile."""
        return self.profiles.setdefault(self.active, {})


def new() -> str:
    """A new secret, `user:password` as basic authentication has it."""
    return f"{PROFILE}:{secrets.token_urlsafe(32)}"


def find(profiles: Path) -> str | None:
    """The secret of this folder: from the environment, else from the active profile.

    Raises:
        UserError: the profiles' file cannot be read.
    """
    if named := os.environ.get(CLIENT):
        return named
    found = _read(profiles).settings.get(CLIENT)
    return str(found) if found else None


def find_or_make(profiles: Path) -> str:
    """As `find`; a first secret is written to the profiles' file, which others cannot read.

    A secret that other users could read or wrote is replaced.

    Raises:
        UserError: the profiles' file cannot be read or written, or others may replace it.
    """
    if named := os.environ.get(CLIENT):
        return named
    _refuse_shared(profiles)
    contents = _read(profiles)
    known = contents.settings.get(CLIENT)
    if known and _is_private(profiles.stat()):
        return str(known)
    made = new()
    contents.settings.update({CLIENT: made, SERVER: made})
    try:
        with replacing(profiles) as part:
            part.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
            part.write_text(toml.dumps(contents.model_dump()), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{profiles}: {error.strerror}; Prefect's secret is kept there") from error
    return made


def _is_private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & OTHERS


def _refuse_shared(profiles: Path) -> None:
    """Make the folder of the profiles if it is missing; its permissions stay as they are.

    Raises:
        UserError: other users may put another file in place of the profiles.
    """
    folder = profiles.parent
    try:
        folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; Prefect's secret is kept there") from error
    open_to_all = (
        status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    )
    if open_to_all or status.st_uid not in (0, os.geteuid()):
        raise UserError(
            f"{folder}: other users may write there, and Prefect's secret is kept there; correct "
            "this, or name a file of another folder (PREFECT_PROFILES_PATH, profiles_path)"
        )


def private_folder(path: Path) -> None:
    """Make sure that this folder exists, is writable, and that other users cannot read it.

    Raises:
        UserError: it belongs to another user or to all (as /tmp does), or cannot be written.
    """
    advice = "Prefect keeps its database there; correct this, or set PREFECT_HOME to another folder"
    try:
        path.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        status = path.stat()
        if os.geteuid() not in (0, status.st_uid):
            raise UserError(f"{path} belongs to another user; {advice}")
        if status.st_mode & stat.S_ISVTX:
            raise UserError(f"{path} is a folder of all users; {advice}")
        if status.st_mode & OTHERS:
            path.chmod(stat.S_IRWXU)
        _probe(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {advice}") from error


def _probe(folder: Path) -> None:
    """Write and remove as many bytes as a new database takes."""
    file = folder / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        file.write_bytes(bytes(PROBE_BYTES))
    finally:
        file.unlink(missing_ok=True)


def _read(profiles: Path) -> _Profiles:
    try:
        return _Profiles.model_validate(tomllib.loads(profiles.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _Profiles()
    except OSError as error:
        raise UserError(f"{profiles}: {error.strerror}; Prefect reads its secret there") from error
    except ValidationError as error:
        raise UserError(f"{profiles}: these are no profiles of Prefect; remove the file") from error
    except ValueError as error:
        raise UserError(f"{profiles}: {error}; correct or remove the file") from error
