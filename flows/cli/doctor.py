"""`brmrs doctor`: checks whether a run can work on this machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from flows.server import secret
from flows.server.recognise import Who, who_answers
from flows.server.settings import bypass_proxy
from flows.server.settings import read as read_settings

GIGABYTES_WANTED = 2  # free, for the artifacts of a small data set


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: of what was checked.
        ok: False if a run would fail.
        finding: what was found and, if not ok, what to do.
    """

    name: str
    ok: bool
    finding: str


def check(artifacts: Path, config: PipelineConfig | None = None) -> list[Check]:
    """Check everything that a run needs. Faults are findings, not exceptions.

    Args:
        artifacts: root of the artifact store.
        config: also check the needs of a run of this configuration.
    """
    looks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("torch", _torch),
        ("torchvision", _torchvision),
        ("text model", _text_model),
        ("picture model", _picture_model),
        ("prefect", _prefect),
        ("prefect's folder", _prefect_folder),
        ("artifacts", lambda: _artifacts(artifacts)),
    ]
    if config is not None:
        from flows.cli import foresee

        looks += foresee.looks(config, artifacts)
    return _each_fault_once([_look(name, function) for name, function in looks])


def _each_fault_once(checks: list[Check]) -> list[Check]:
    """The checks; one that failed for the reason of an earlier one only names that one."""
    first: dict[str, str] = {}  # name of the check by its finding
    once = []
    for each in checks:
        earlier = each.name if each.ok else first.setdefault(each.finding, each.name)
        same = earlier != each.name
        once.append(replace(each, finding=f"not checked: see {earlier}") if same else each)
    return once


def _look(name: str, function: Callable[[], str]) -> Check:
    try:
        return Check(name, True, function())
    except Exception as error:  # any error of an import or a check is the finding
        fault = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Check(name, False, fault)


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
    return "all-MiniLM-L6-v2, SHA-256 verified"


def _picture_model() -> str:
    from brmrs.config.features import VisualConfig
    from brmrs.extensions import find
    from brmrs.features.catalogue.packaged import backbone_weights

    name = VisualConfig().backbone
    backbone_weights(name, find("backbone", name).options)
    return f"{name}, SHA-256 verified"


def _prefect() -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import prefect.settings"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"prefect {version('prefect')} does not start: {done.stderr[-300:]}")
    return f"{version('prefect')}, {_server()}"


def _server() -> str:
    """The server that a run would use."""
    bypass_proxy()
    settings = read_settings()
    embedded = "a run starts a separate server"
    if not settings.url:
        return embedded
    found = who_answers(settings.url, secret.find(settings.profiles))
    if found is Who.OURS:
        return f"server {settings.url}"
    if settings.named_url:
        raise UserError(
            f"PREFECT_API_URL: {found.value} at {settings.url}; unset the variable, or "
            "set it and PREFECT_API_AUTH_STRING to those of a server"
        )
    return f"{found.value} at {settings.url}, so {embedded}"


def _prefect_folder() -> str:
    home = read_settings().home
    secret.private_folder(home)
    return f"{home} can be written"


def _artifacts(artifacts: Path) -> str:
    folder = artifacts.absolute()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} cannot be written; choose another with --artifacts")
    free = shutil.disk_usage(folder).free / 1e9
    if free < GIGABYTES_WANTED:
        raise UserError(f"{free:.1f} GB free at {folder}; a run needs {GIGABYTES_WANTED} GB")
    return f"{free:.0f} GB free for {artifacts}"
