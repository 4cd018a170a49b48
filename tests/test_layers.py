"""The layers: which package may import which. `ALLOWED` is the whole picture; all else fails."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("brmrs", "tasks", "flows")

# Below everything: names, errors, the kinds of fields. They may be imported from anywhere.
BASE = {
    "brmrs.columns",
    "brmrs.errors",
    "brmrs.suggest",
    "brmrs.extensions",
    "brmrs.config",
    "brmrs.system",
}

# What a dump format may import, beside these.
DATASET = {
    "brmrs.ingest.clean",
    "brmrs.ingest.csv_rows",
    "brmrs.ingest.dataset",
    "brmrs.ingest.files",
    "brmrs.ingest.gathering",
    "brmrs.ingest.interactions",
    "brmrs.ingest.lines",
    "brmrs.ingest.streams",
}

# Package -> the packages that it may import, beside itself. A package includes its sub-packages,
# unless they have a line of their own.
ALLOWED: dict[str, set[str]] = {
    "brmrs.errors": set(),
    "brmrs.columns": set(),
    "brmrs.suggest": set(),
    "brmrs.system": {"brmrs.errors"},
    "brmrs.extensions": {"brmrs.errors", "brmrs.suggest", "brmrs.system"},
    "brmrs.config": {
        "brmrs.columns",
        "brmrs.errors",
        "brmrs.extensions",
        "brmrs.suggest",
        "brmrs.system",
    },
    "brmrs.stages": {
        "brmrs.columns",
        "brmrs.config",
        "brmrs.errors",
        "brmrs.extensions",
        "brmrs.suggest",
    },
    "brmrs.sample": {*BASE},
    # The formats do not import the stage, which reaches them through brmrs.ingest.formats.
    "brmrs.ingest.files": {*BASE},
    "brmrs.ingest.interactions": {*BASE},
    "brmrs.ingest.dataset": {*BASE, "brmrs.ingest.interactions"},
    "brmrs.ingest.clean": set(),
    "brmrs.ingest.lines": {*BASE},
    "brmrs.ingest.csv_rows": {*BASE, "brmrs.ingest.lines"},
    "brmrs.ingest.gathering": {*BASE, "brmrs.ingest.dataset"},
    "brmrs.ingest.streams": {*BASE, "brmrs.ingest.dataset", "brmrs.ingest.gathering"},
    "brmrs.ingest.amazon": {*BASE, *DATASET},
    "brmrs.ingest.table": {*BASE, *DATASET},
    "brmrs.ingest.ready_made": {*BASE, *DATASET},
    "brmrs.ingest.kcore": {*BASE},
    "brmrs.ingest.tables": {*BASE, *DATASET},
    "brmrs.ingest.out_of_core": {*BASE, *DATASET, "brmrs.ingest.kcore", "brmrs.ingest.tables"},
    "brmrs.ingest": {
        *BASE,
        *DATASET,
        "brmrs.stages",
        "brmrs.ingest.amazon",
        "brmrs.ingest.kcore",
        "brmrs.ingest.out_of_core",
        "brmrs.ingest.ready_made",
        "brmrs.ingest.table",
        "brmrs.ingest.tables",
    },
    "brmrs.propose": {*BASE, "brmrs.images", "brmrs.ingest"},
    "brmrs.split": {*BASE, "brmrs.stages"},
    "brmrs.images": {*BASE, "brmrs.stages"},
    "brmrs.features": {*BASE, "brmrs.stages", "brmrs.images"},
    "brmrs.graphs": {*BASE, "brmrs.stages", "brmrs.features"},
    "brmrs.models": {*BASE, "brmrs.graphs"},
    "brmrs.evaluation": {*BASE, "brmrs.stages", "brmrs.features", "brmrs.graphs", "brmrs.models"},
    "brmrs.training": {
        *BASE,
        "brmrs.stages",
        "brmrs.features",
        "brmrs.graphs",
        "brmrs.models",
        "brmrs.evaluation",
    },
    "brmrs.diagnosis": {
        *BASE,
        "brmrs.stages",
        "brmrs.graphs",
        "brmrs.models",
        "brmrs.evaluation",
        "brmrs.training",
    },
    "brmrs.report": {
        *BASE,
        "brmrs.stages",
        "brmrs.images",
        "brmrs.evaluation",
        "brmrs.diagnosis",
        "brmrs.store",
        "brmrs.experiments",
    },
    "brmrs.store": {
        *BASE,
        "brmrs.stages",
        "brmrs.ingest",
        "brmrs.images",
        "brmrs.features",
        "brmrs.models",
    },
    "brmrs.export": {*BASE, "brmrs.stages", "brmrs.features", "brmrs.models", "brmrs.store"},
    "brmrs.experiments": {
        *BASE,
        "brmrs.stages",
        "brmrs.models",
        "brmrs.evaluation",
        "brmrs.diagnosis",
        "brmrs.training",
        "brmrs.store",
    },
    "brmrs.serving": {
        *BASE,
        "brmrs.stages",
        "brmrs.graphs",
        "brmrs.models",
        "brmrs.evaluation",
        "brmrs.store",
    },
    "brmrs.service": {
        *BASE,
        "brmrs.stages",
        "brmrs.images",
        "brmrs.features",
        "brmrs.graphs",
        "brmrs.models",
        "brmrs.evaluation",
        "brmrs.store",
        "brmrs.serving",
    },
    "tasks": {"brmrs"},
    "flows.server": {"brmrs", "tasks"},
    "flows": {"brmrs", "tasks", "flows.server"},
    "flows.cli": {"brmrs", "tasks", "flows", "flows.server"},
}


def imports(path: Path) -> set[str]:
    """Every name that a file imports: modules, and what it takes from them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def package_of(name: str) -> str | None:
    """The package of `ALLOWED` that a module, or a name in one, belongs to: the longest match."""
    matches = [package for package in ALLOWED if f"{name}.".startswith(f"{package}.")]
    return max(matches, key=len, default=None)


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def permitted(package: str, imported: str) -> bool:
    return package == imported or any(
        f"{imported}.".startswith(f"{allowed}.") for allowed in ALLOWED[package]
    )


def test_every_module_is_in_the_picture() -> None:
    homeless = {name for name in modules() if name != "brmrs" and package_of(name) is None}
    assert not homeless


def test_imports_run_as_drawn() -> None:
    wrong = {
        f"{name}: {imported}"
        for name, path in modules().items()
        for imported in imports(path)
        if (package := package_of(name)) and (target := package_of(imported))
        if not permitted(package, target)
    }
    assert not wrong


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("brmrs.models", "from tasks import stage"),
        ("brmrs.models", "import flows.retrain"),
        ("brmrs.models", "import brmrs.training.trainer"),
        ("flows.server", "from flows.full_pipeline import full_pipeline"),
        ("flows.server", "from flows.cli import run_locally"),
        ("flows", "from flows.cli.tables_compare import cells"),
    ],
)
def test_a_forbidden_import_is_found(package: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(f"{line}\n")
    (found,) = imports(tmp_path / "module.py")
    assert not permitted(package, package_of(found) or "")


def test_brmrs_does_not_know_prefect() -> None:
    for path in sorted((ROOT / "brmrs").rglob("*.py")):
        assert not any(name.partition(".")[0] == "prefect" for name in imports(path)), path


def test_no_two_packages_import_each_other() -> None:
    """By the picture itself, as the imports keep to it."""
    mutual = {
        (one, other)
        for one, allowed in ALLOWED.items()
        for other in allowed
        if one in ALLOWED.get(other, set())
    }
    assert not mutual


def test_no_file_is_too_long_to_find_things_in() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in (*PACKAGES, "bench", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long
