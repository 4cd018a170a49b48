"""The code that an output depends on: modules by their imports, digests of their syntax.

Stage keys and kept embeddings share this one notion of code.
"""

import ast
import hashlib
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PACKAGE = "brmrs"
ROOT = Path(__file__).parents[1]
TEMPLATES = {".j2"}
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml"}  # where they differ from the module's name
# The values of the configuration stand in the key themselves, and errors, progress and the
# declarations shape no output: a change in these modules alone reruns nothing.
SHAPES_NO_OUTPUT = {
    "brmrs",
    "brmrs.config.pipeline",
    "brmrs.errors",
    "brmrs.config.models",
    "brmrs.system.progress",
    "brmrs.system.code",
    "brmrs.config.section",
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
    """Modules of the project that a module imports, anywhere in its text."""
    ours = [name for name in _imported(module) if f"{name}.".startswith(PACKAGE + ".")]
    return [name for name in ours if _source(name)]


@cache
def libraries(module: str) -> frozenset[str]:
    """Distributions, other than the project and the standard library, that a module imports."""
    names = {name.partition(".")[0] for name in _imported(module)}
    others = names - {PACKAGE} - sys.stdlib_module_names
    return frozenset(DISTRIBUTIONS.get(name, name).replace("_", "-") for name in others)


def _imported(module: str) -> tuple[str, ...]:
    """Everything that a module imports; `from a import b` gives a and a.b."""
    return _parsed(_file(module).read_bytes()).imported


@cache
def digest(module: str) -> str:
    """Digest of a module's syntax: comments, layout and docstrings do not count.

    A template beside it with its stem (stage.py, stage.html.j2) is part of it, with every byte.
    """
    source = _file(module)
    result = hashlib.sha256(_parsed(source.read_bytes()).syntax)
    for path in sorted(source.parent.glob(f"{source.stem}.*")):
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
    """Parse a module's text, once: this is most of the time that making keys takes."""
    tree = ast.parse(text)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return _Parsed(tuple(names), ast.dump(tree).encode())


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a string alone: a docstring, of an attribute too."""
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
    source = _source(module)
    if source is None:
        raise ModuleNotFoundError(f"no source of {module}")
    return source


@cache
def _source(module: str) -> Path | None:
    """The file of a module of the project; None if the name is no module."""
    if not module.startswith(PACKAGE + ".") and module != PACKAGE:
        spec = find_spec(module)  # a stage of somebody else's; imports its parent packages
        return Path(spec.origin) if spec and spec.origin else None
    place = ROOT.joinpath(*module.split(".")[1:])
    found = (place / "__init__.py", place.with_name(place.name + ".py"))
    return next((path for path in found if path.is_file()), None)


@cache
def library_version(distribution: str) -> str:
    """Version of an installed distribution."""
    return version(distribution)
