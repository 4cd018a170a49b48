"""The wheel: installed in an environment of its own, used in a folder without the repository."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Set
from pathlib import Path

import pytest
from benchmark_layout import write_layout

from brmrs.config.load import parse
from brmrs.stages import externals, needed
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record
from brmrs.store.runs import Run, save, this_machine

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Refuses to import the packages that BLOCKED names, as if they were not installed.
BLOCKER = """
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ.get("BLOCKED", "").split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


class Installed:
    """An environment with the wheel, and a working folder."""

    def __init__(self, environment: Path, folder: Path):
        self.python = environment / "bin" / "python"
        self.command = environment / "bin" / "brmrs"
        self.folder = folder

    def brmrs(self, *arguments: str, without: Set[str] = frozenset()) -> str:
        done = self.attempt(*arguments, without=without)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def attempt(
        self, *arguments: str, without: Set[str] = frozenset()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *arguments],
            cwd=self.folder,
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                "BLOCKED": " ".join(sorted(without)),
                "PREFECT_HOME": str(self.folder / ".prefect"),
            },
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )


def modules_of(requirements: list[str]) -> set[str]:
    """The importable names of distributions."""
    names = {re.split(r"[\[<>=~! ;]", each)[0].lower().replace("_", "-") for each in requirements}
    return {
        module
        for module, providers in importlib.metadata.packages_distributions().items()
        if names & {each.lower().replace("_", "-") for each in providers}
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel without its requirements, which come from the environment of the tests."""
    root = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(root)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    environment = root / "environment"
    venv.create(environment, symlinks=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (wheel,) = root.glob("*.whl")
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    # After the wheel's own place; the .pth files of that folder are not read.
    paths = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (site / "shared.pth").write_text("\n".join(paths))
    (site / "sitecustomize.py").write_text(BLOCKER)
    folder = root / "elsewhere"
    folder.mkdir()
    return Installed(environment, folder)


PIPELINE = modules_of(PROJECT["optional-dependencies"]["pipeline"])


@pytest.fixture(scope="module")
def small_run(installed: Installed) -> None:
    """A run of EASE over five items, as far as `publish`, in the store of the working folder."""
    values = {
        "name": "tiny",
        "ingest": {"format": "ready-made", "path": write_layout(installed.folder / "tiny")},
        "split": {"protocol": "given"},
        "features": {"text": {"model": "imported"}, "visual": {"backbone": "imported"}},
        "images": {"fetch": False},
        "graphs": {"modality": "knn"},
        "model": {"name": "ease"},
    }
    config, store = parse(values, "small_run"), ArtifactStore(installed.folder / "artifacts")
    prints = fingerprint(config, externals(needed(config, "publish")))
    records: dict[str, Record] = {}
    for stage in needed(config, "publish"):
        upstream = {name: records[name].artifact for name in stage.upstream}
        records[stage.name] = execute(stage, config, prints, upstream, store, "small")
    save(Run("small", config.model_dump(mode="json"), prints, records, 1.0, this_machine()), store)


@pytest.fixture(scope="module")
def finished(installed: Installed) -> Installed:
    """The sample has been run, in two epochs."""
    installed.brmrs("sample", "x")
    installed.brmrs("run", "-c", "x/config.yaml", "--set", "train.epochs=2")
    return installed


def test_the_package_is_the_wheels(installed: Installed) -> None:
    code = "import brmrs, flows, tasks; print(brmrs.__file__, flows.__file__, tasks.__file__)"
    done = subprocess.run(
        [installed.python, "-c", code],
        cwd=installed.folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT) not in done.stdout


def test_every_file_that_models_names_is_shipped(installed: Installed) -> None:
    rows = json.loads(installed.brmrs("models", "--json"))
    (configs,) = installed.python.parents[1].glob("lib/python*/site-packages/brmrs/configs")
    assert rows
    for row in rows:
        assert configs.joinpath(*Path(row["configuration"]).parts[1:]).is_file()


def test_type_information_and_licence_are_shipped(installed: Installed) -> None:
    (site,) = installed.python.parents[1].glob("lib/python*/site-packages")
    assert (site / "brmrs" / "py.typed").is_file()
    (information,) = site.glob("brmrs-*.dist-info")
    assert "License-Expression: Apache-2.0" in (information / "METADATA").read_text()
    assert (information / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_recommending_needs_the_base_requirements_alone(
    installed: Installed, small_run: None
) -> None:
    assert {"prefect", "torchvision", "altair", "PIL"} <= PIPELINE
    assert not {"torch", "pyarrow", "yaml", "typer"} & PIPELINE
    (run,) = json.loads(installed.brmrs("runs", "--json", without=PIPELINE))
    asked = installed.brmrs("recommend", "--user", "0", "--json", without=PIPELINE)
    rows = json.loads(asked)["items"]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    asin = rows[0]["asin"]
    asked = installed.brmrs("similar", "--item", asin, "--json", without=PIPELINE)
    near = json.loads(asked)["items"]
    assert asin not in {row["asin"] for row in near}
    assert "ease" in installed.brmrs("show", run["run"], without=PIPELINE)


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "y"],
        ["inspect", "."],
        ["benchmark", "-c", "configs/sample.yaml", "--models", "ease"],
    ],
    ids=lambda command: command[0],
)
def test_what_needs_more_names_the_extra(installed: Installed, command: list[str]) -> None:
    done = installed.attempt(*command, without=PIPELINE)
    assert done.returncode == 2, done.stderr
    assert "brmrs[pipeline]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_service_needs_its_extra_alone(installed: Installed, small_run: None) -> None:
    serve = modules_of(PROJECT["optional-dependencies"]["serve"])
    assert {"fastapi", "uvicorn", "PIL"} <= serve
    found = installed.attempt("serve", "--run", "no-such-run", without=PIPELINE - serve)
    assert (found.returncode, "`brmrs runs` lists them" in found.stderr) == (2, True)
    lacking = installed.attempt("serve", without={"fastapi"})
    assert (lacking.returncode, "brmrs[serve]" in lacking.stderr) == (2, True)


@pytest.mark.slow
def test_sample_run_recommend_in_a_folder_without_the_repository(finished: Installed) -> None:
    bundle = next((finished.folder / "artifacts/objects/train").glob("*/bundle.json"))
    user = json.loads(bundle.read_text())["users"][0]
    asked = ["recommend", "--user", user, "-k", "3", "--data", "sample", "--json"]
    rows = json.loads(finished.brmrs(*asked))["items"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
