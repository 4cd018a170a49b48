"""Prefect's two files in the working folder, which `brmrs up` writes where they are missing."""

import shutil
from pathlib import Path

from brmrs.errors import UserError

FILES = ("prefect.yaml", "prefect.toml")
HERE = Path(__file__).parent


def write_missing() -> list[str]:
    """Copy the shipped files that this folder lacks, and return their names.

    Raises:
        UserError: the folder cannot be written.
    """
    missing = [name for name in FILES if not Path(name).exists()]
    try:
        for name in missing:
            shutil.copyfile(_shipped(name), name)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; choose another folder") from error
    return missing


def _shipped(name: str) -> Path:
    """The file inside the installed package, or at the root of a checkout."""
    inside = HERE / name
    return inside if inside.is_file() else HERE.parents[1] / name
