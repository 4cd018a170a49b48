"""Dockerfile and compose.yaml: what they copy, call and name exists. No daemon is needed."""

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from flows.cli.app import app

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "ENTRYPOINT", "CMD"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order, with their continued lines."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    return [
        (name, rest)
        for name, _, rest in (line.partition(" ") for line in joined.split("\n"))
        if name
    ]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def copied() -> list[str]:
    """What is copied from the folder of the project."""
    words = [shlex.split(rest) for rest in of("COPY") if not rest.startswith("--from=")]
    return [source for each in words for source in each[:-1]]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return content


def test_only_known_instructions_in_a_sensible_order() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) <= INSTRUCTIONS
    assert names[0] == "FROM"
    assert names.index("USER") < names.index("ENTRYPOINT") < names.index("CMD")


def test_the_base_image_is_pinned_to_a_python_that_the_package_takes() -> None:
    (first, *_), last = ([rest.split()[0] for rest in of("FROM")], of("FROM")[-1])
    assert first == last
    version = re.fullmatch(r"python:(3\.\d+)-slim-bookworm", last)
    assert version
    low, high = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert int(low) <= int(version[1].partition(".")[2]) < int(high)


def test_the_container_runs_as_a_user_without_rights() -> None:
    assert of("USER") == ["1000:1000"]


def test_what_is_installed_is_declared() -> None:
    extras = re.search(r"'\.\[([\w,]+)\]'", of("RUN")[1])
    assert extras
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert "--constraint requirements.txt" in of("RUN")[1]
    assert of("ENTRYPOINT") == ['["brmrs"]']
    assert "brmrs" in PROJECT["scripts"]


def test_the_context_holds_what_is_copied_and_no_data() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert kept == set(copied())
    for name in ("data", "artifacts", ".prefect", ".venv", ".git"):
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in kept)


def test_the_copied_files_build_a_wheel_with_all_that_is_shipped(tmp_path: Path) -> None:
    for name in copied():
        source, target = ROOT / name, tmp_path / "src" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=tmp_path / "src", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "brmrs/service/page/index.html",
        "brmrs/configs/sample.yaml",
        "flows/server/prefect.yaml",
        "flows/server/prefect.toml",
    } <= names


def test_every_service_runs_a_command_of_brmrs(compose: dict[str, Any]) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert compose["services"].keys() == {"pipeline", "service"}
    for service in compose["services"].values():
        name, *options = service["command"]
        commands[name].make_context(name, options)  # fails on an unknown option
        assert service["image"] == "brmrs"
        assert service["init"]
        assert service["healthcheck"]["test"][0] == "CMD"
        compile(service["healthcheck"]["test"][3], "healthcheck", "exec")


def test_the_comments_name_commands_that_exist() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = (ROOT / "compose.yaml").read_text() + (ROOT / "docs" / "docker.md").read_text()
    called = re.findall(r"docker compose run --rm pipeline (\w+) ?([^\n]*)", text)
    assert len(called) >= 4
    for name, rest in called:
        commands[name].make_context(name, shlex.split(rest, comments=True))
