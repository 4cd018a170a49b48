"""The code that an output depends on: modules by their imports, digests of their syntax.

Stage keys and cached embeddings both use it.
"""

import ast
import contextlib
import hashlib
import sys
import sysconfig
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import NamedTuple

PACKAGE = "brmrs"
ROOT = Path(__file__).parents[1]
TEMPLATES = {".css", ".j2", ".js"}
INSTALLED = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml"}  # where they differ from the module's name
# Keys contain the values of the configuration, and errors, progress and declarations do not affect
# any output. So a change in these modules reruns nothing.
SHAPES_NO_OUTPUT = {
    "brmrs",
    "brmrs.config.data",
    "brmrs.config.features",
    "brmrs.config.learning",
    "brmrs.config.machines",
    "brmrs.config.models",
    "brmrs.config.pipeline",
    "brmrs.config.section",
    "brmrs.config.shipped",
    "brmrs.errors",
    "brmrs.extensions",
    "brmrs.system.cluster",
    "brmrs.system.code",
    "brmrs.system.progress",
    "brmrs.stages",
}


@cache
def closure(module: str) -> frozenset[str]:
    """The module and all modules of the project that it imports, directly or indirectly."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in seen or name in SHAPES_NO_OUTPUT:
            continue
        seen.add(name)
        todo += _imports(name)
    return frozenset(seen)


def _imports(module: str) -> list[str]:
    """Modules of the project, or of the module's own package, that it imports."""
    ours = [name for name in _imported(module) if _is_ours(name, module)]
    return [name for name in ours if source(name)]


def _is_ours(name: str, importer: str) -> bool:
    """Whether a name belongs to the project, to the importer's package, or to a file beside it.

    A file beside it counts where the importer is a plug-in file that belongs to no package.
    """
    top = name.partition(".")[0]
    if top in {PACKAGE, importer.partition(".")[0]}:
        return True
    folder = _file(importer).parent
    if importer.startswith(PACKAGE + ".") or "." in importer or folder in INSTALLED:
        return False
    return (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()


@cache
def libraries(module: str) -> frozenset[str]:
    """Distributions, other than the project and the standard library, that a module imports."""
    names = {name.partition(".")[0] for name in _imported(module) if not _is_ours(name, module)}
    others = names - sys.stdlib_module_names
    return frozenset(DISTRIBUTIONS.get(name, name).replace("_", "-") for name in others)


def _imported(module: str) -> tuple[str, ...]:
    """Everything that a module imports; `from a import b` gives a and a.b."""
    file = _file(module)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names = _parsed(file.read_bytes()).imported
    return tuple(absolute for name in names if (absolute := _absolute(name, package)))


def _absolute(name: str, package: str) -> str:
    """The absolute name of an import, which may be relative; "" if there is none."""
    if not name.startswith("."):
        return name
    with contextlib.suppress(ImportError):
        return resolve_name(name, package)
    return ""


@cache
def digest(module: str) -> str:
    """Digest of a module's syntax: comments, layout and docstrings do not count.

    Templates, style sheets and scripts beside it with its stem (page.py, page.html.j2) are part of
    it, with every byte.
    """
    file = _file(module)
    result = hashlib.sha256(_parsed(file.read_bytes()).syntax)
    for path in sorted(file.parent.glob(f"{file.stem}.*")):
        if path.suffix in TEMPLATES:
            result.update(path.read_bytes())
    return result.hexdigest()


class _Parsed(NamedTuple):
    """A module, parsed.

    Attributes:
        imported: see `_imported`.
        syntax: its syntax tree without docstrings, as bytes.
    """

    imported: tuple[str, ...]
    syntax: bytes


@cache
def _parsed(text: bytes) -> _Parsed:
    """Parse a module's text. Cached, as parsing takes most of the time of making keys."""
    tree = ast.parse(text)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            start = base if base.endswith(".") else f"{base}."
            names += [base, *(start + alias.name for alias in node.names)]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return _Parsed(tuple(names), ast.dump(tree).encode())


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is only a string: a docstring, also of an attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _file(module: str) -> Path:
    """The source of a module.

    Raises:
        ModuleNotFoundError: there is none.
    """
    found = source(module)
    if found is None:
        raise ModuleNotFoundError(f"no source of {module}")
    return found


@cache
def source(module: str) -> Path | None:
    """The source file of a module, found without importing anything; None if there is none."""
    top, *inner = module.split(".")
    if top == PACKAGE:
        folder = ROOT
    else:
        spec = find_spec(top) if top else None
        if not inner:
            return Path(spec.origin) if spec and spec.origin else None
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(spec.submodule_search_locations[0])
    place = folder.joinpath(*inner)
    found = (place / "__init__.py", place.with_name(place.name + ".py"))
    return next((path for path in found if path.is_file()), None)


@cache
def library_version(distribution: str) -> str:
    """Version of an installed distribution, or of the one that has a module of this name."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        names = packages_distributions().get(distribution.replace("-", "_"), [])
        return ", ".join(f"{name} {version(name)}" for name in names) or "not installed"
