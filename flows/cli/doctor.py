"""`brmrs doctor`: are the surroundings fit for a run?"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from brmrs.errors import UserError

GIGABYTES_WANTED = 2  # free, for the artifacts of a small data set


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        ok: False if a run would fail.
        finding: what was found and, if not ok, what to do.
    """

    name: str
    ok: bool
    finding: str


def check(artifacts: Path) -> list[Check]:
    """Look at everything a run needs; never raises for what it finds."""
    looks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("torch", _torch),
        ("torchvision", _torchvision),
        ("text model", _text_model),
        ("prefect", _prefect),
        ("disk", lambda: _disk(artifacts)),
    ]
    return [_look(name, function) for name, function in looks]


def _look(name: str, function: Callable[[], str]) -> Check:
    try:
        return Check(name, True, function())
    except Exception as error:  # whatever an import or a look raises is the finding
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Check(name, False, told)


def _python() -> str:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise UserError(f"{sys.version.split()[0]}; brmrs needs 3.11 to 3.13")
    return sys.version.split()[0]


def _torch() -> str:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device, CPU"
    return f"{torch.__version__}, {gpu}, {torch.get_num_threads()} threads"


def _torchvision() -> str:
    import torchvision

    torchvision.ops.nms  # noqa: B018 - fails where torchvision does not match torch
    return str(torchvision.__version__)


def _text_model() -> str:
    from brmrs.features.catalogue.text import packaged_model_folder

    packaged_model_folder()
    return "all-MiniLM-L6-v2 is there and its SHA-256 holds"


def _prefect() -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import prefect.settings as s; print(s.PREFECT_API_URL.value())"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"prefect {version('prefect')} does not start: {done.stderr[-300:]}")
    server = done.stdout.strip()
    return f"{version('prefect')}, server {'embedded' if server == 'None' else server}"


def _disk(artifacts: Path) -> str:
    folder = artifacts.absolute()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} cannot be written; choose another with --artifacts")
    free = shutil.disk_usage(folder).free / 1e9
    if free < GIGABYTES_WANTED:
        raise UserError(f"{free:.1f} GB free at {folder}; a run wants {GIGABYTES_WANTED} GB")
    return f"{free:.0f} GB free for {artifacts}"
