"""The arrows between the layers: flows -> tasks -> brmrs, and inside brmrs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "brmrs": ("prefect", "tasks", "flows"),
    "tasks": ("flows",),
    "brmrs/models": ("brmrs.training", "brmrs.evaluation", "brmrs.ingest", "brmrs.features"),
    "brmrs/ingest": ("brmrs.features", "brmrs.models", "brmrs.training"),
    "brmrs/features": ("brmrs.models", "brmrs.training", "brmrs.evaluation"),
    "brmrs/graphs": ("brmrs.models", "brmrs.training", "brmrs.evaluation"),
}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_run_one_way(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in paths
        for name in imports(path)
        for forbidden in FORBIDDEN[folder]
        if f"{name}.".startswith(f"{forbidden}.")
    }
    assert not wrong


def test_nothing_imports_the_command() -> None:
    for path in ROOT.glob("[bft]*s/**/*.py"):
        assert not any(f"{name}.".startswith("flows.cli.app.") for name in imports(path)), path


def test_no_file_is_too_long_to_find_things_in() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("brmrs", "tasks", "flows", "bench", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long
