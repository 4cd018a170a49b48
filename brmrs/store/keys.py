"""Cache keys: what a stage's output depends on, spelled out so that a change can be explained."""

import ast
import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from brmrs.config.pipeline import PipelineConfig
from brmrs.config.section import Section
from brmrs.models.registry import RECOMMENDERS
from brmrs.stages import Stage
from brmrs.store.artifacts import Artifact
from brmrs.system.files import digest_json

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
    "brmrs.config.section",
    "brmrs.stages",
}

# What a key is made of: {"code": {module: digest}, "libraries": {name: version},
# "configuration": {field: value}, "input": {declared read: digest}}.
Parts = dict[str, dict[str, Any]]


def parts(
    stage: Stage,
    config: PipelineConfig,
    fingerprint: Mapping[str, Mapping[str, Any]],
    upstream: Mapping[str, Artifact],
) -> Parts:
    """Everything that a stage's output depends on.

    Args:
        stage: the stage.
        config: the whole configuration; only the declared sections enter.
        fingerprint: digests of the bytes from outside (see `brmrs.store.fingerprint`).
        upstream: the artifacts it reads, by stage name.
    """
    inputs = {name: fingerprint[name]["sha256"] for name in stage.external}
    inputs |= {read: upstream[read.partition("/")[0]].digest_of(read) for read in stage.reads}
    return {**fixed_parts(stage, config), "input": inputs}


def fixed_parts(stage: Stage, config: PipelineConfig) -> Parts:
    """The parts that are known before any stage has run."""
    values: dict[str, Any] = {}
    for path in stage.config:
        section = config.section(path)
        flatten(path, section.key() if isinstance(section, Section) else section, values)
    modules = _modules(stage, config)
    imported = {name for module in modules for name in _libraries(module)}
    return {
        "code": {module: _digest(module) for module in sorted(modules)},
        "libraries": {name: _version(name) for name in sorted({*imported, *stage.libraries})},
        "configuration": values,
    }


def key(stage: Stage, key_parts: Parts) -> str:
    """The cache key."""
    return digest_json({"stage": stage.name, **key_parts})


def _modules(stage: Stage, config: PipelineConfig) -> set[str]:
    """Every module of the project that the stage imports, directly or not.

    Recommenders are imported by name; the configured one alone counts.
    """
    modules = set(_closure(stage.module))
    if "model" in stage.config:
        modules |= _closure(RECOMMENDERS[config.model.name].partition(":")[0])
    return modules


@cache
def _closure(module: str) -> frozenset[str]:
    """The module and all modules of the project that it leads to through imports."""
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
def _libraries(module: str) -> frozenset[str]:
    """Distributions, other than the project and the standard library, that a module imports."""
    names = {name.partition(".")[0] for name in _imported(module)}
    others = names - {PACKAGE} - sys.stdlib_module_names
    return frozenset(DISTRIBUTIONS.get(name, name).replace("_", "-") for name in others)


def _imported(module: str) -> tuple[str, ...]:
    """Everything that a module imports; `from a import b` gives a and a.b."""
    return _parsed(_file(module).read_bytes()).imported


@cache
def _digest(module: str) -> str:
    """Digest of a module's syntax: comments, layout and docstrings do not count.

    A template beside it with its stem (stage.py, stage.html.j2) is part of it, with every byte.
    """
    source = _file(module)
    digest = hashlib.sha256(_parsed(source.read_bytes()).syntax)
    for path in sorted(source.parent.glob(f"{source.stem}.*")):
        if path.suffix in TEMPLATES:
            digest.update(path.read_bytes())
    return digest.hexdigest()


class _Parsed(NamedTuple):
    """What a module's text says.

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
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return _Parsed(tuple(names), ast.dump(tree).encode())


def _file(module: str) -> Path:
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
def _version(distribution: str) -> str:
    return version(distribution)


def flatten(path: str, value: object, into: dict[str, Any]) -> None:
    """{"train": {"seed": 0}} to {"train.seed": 0}."""
    if isinstance(value, dict):
        for name, inner in value.items():
            flatten(f"{path}.{name}", inner, into)
    else:
        into[path] = value
