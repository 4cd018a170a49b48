"""Extensions: models, metrics, backbones, stages and dump formats, found by name.

`@register("name", kind)` in front of a class or function makes it an extension. Where extensions
are looked for:

- the project's own folders (`BUILT_IN`): a new file there needs no other edit;
- installed packages, models only: the modules that the entry point group `brmrs.models` names;
- the files that the configuration names under `plugins`, or a command under `--plugin`.

The search parses these files without running them. A file is imported only when one of its
extensions is used. So listing models does not load torch, and an unused plug-in never runs.
"""

import ast
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from brmrs.errors import UserError
from brmrs.suggest import instead, nearest
from brmrs.system import code
from brmrs.system.named_file import read_named

Kind = Literal["model", "metric", "backbone", "stage", "dump format"]
BUILT_IN: dict[str, str] = {
    "model": "models/*.py",
    "dump format": "ingest/*/format.py",
    "backbone": "features/visual/efficientnet_lite.py",
}  # by kind, relative to the package; other kinds have none
ENTRY_POINTS = "brmrs.models"
PACKAGE = "brmrs"
ROOT = Path(__file__).parent

T = TypeVar("T")
_REGISTERED: dict[tuple[str, str, str], Any] = {}  # by module, kind and name


@dataclass(frozen=True)
class Extension:
    """A registered class or function, as described by its source.

    Attributes:
        kind: what it extends.
        name: what configurations and tables call it.
        module: the module that defines it.
        file: the source of the module.
        line: of its `class` or `def`, counted from 1.
        options: the other arguments of `@register`, and those attributes of a class whose values
            are plain literals.
        summary: the first line of its docstring, without the full stop.
    """

    kind: str
    name: str
    module: str
    file: Path
    line: int
    options: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""

    def load(self) -> Any:
        """The class or function; imports its module.

        Raises:
            UserError: the module cannot be imported.
        """
        make_importable(self)
        try:
            importlib.import_module(self.module)
        except UserError:
            raise
        except Exception as error:
            if self.module.startswith(PACKAGE + "."):
                raise  # a defect of the project, not of a plug-in
            first = str(error).partition("\n")[0]
            raise UserError(
                f"{self.file}: cannot be imported: {type(error).__name__}: {first}"
            ) from error
        return _REGISTERED[self.module, self.kind, self.name]


def register(name: str, kind: Kind = "model", **options: Any) -> Callable[[T], T]:
    """Register the class or function below under a name.

    Args:
        name: what configurations and tables call it.
        kind: what it extends.
        options: settings of the kind, available without importing the module. They are plain
            literals, as they are read from the source.
    """
    del options

    def put(value: T) -> T:
        module: str = value.__module__
        _REGISTERED[module, kind, name] = value
        return value

    return put


def known(kind: Kind, plugins: Iterable[Path] = ()) -> dict[str, Extension]:
    """Every extension of a kind by name: built-in, installed, and of these files.

    Raises:
        UserError: a file cannot be read, registers nothing, or registers a name that is taken.
    """
    found = dict(built_in(kind))
    installed = _installed() if kind == "model" else ()
    named = [each for file in dict.fromkeys(plugins) for each in of_file(file)]
    for extension in (*installed, *named):
        if extension.kind != kind:
            continue
        taken = found.get(extension.name)
        if taken and taken.file != extension.file:
            raise UserError(
                f"{extension.file}: registers the {kind} {extension.name}, and so does "
                f"{taken.file}; rename one"
            )
        found[extension.name] = extension
    return found


def look_up(kind: Kind, name: str, plugins: Iterable[Path] = ()) -> Extension | None:
    """The extension of a name; None where there is none.

    Raises:
        UserError: as for `known`.
    """
    if not plugins and name in built_in(kind):  # most runs; avoids the search for packages
        return built_in(kind)[name]
    return known(kind, plugins).get(name)


def find(kind: Kind, name: str, plugins: Iterable[Path] = ()) -> Extension:
    """The extension of a name.

    Raises:
        UserError: there is none; the message names the nearest, or all.
    """
    found = look_up(kind, name, plugins)
    if found is None:
        raise UserError(missing(kind, name, known(kind, plugins)))
    return found


def missing(kind: str, name: str, there: Iterable[str]) -> str:
    """The message for a name without extension."""
    names = sorted(there)
    near = nearest(name, names)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
    return f"no {kind} {name!r}; {hint}"


def of_file(file: Path) -> tuple[Extension, ...]:
    """The extensions that a plug-in file registers.

    Raises:
        UserError: the file cannot be read, or registers nothing.
    """
    path = file.resolve()
    try:
        text = read_named(path)
    except OSError as error:
        advice = instead(file, "name an existing file")
        raise UserError(f"plugins: {file}: {error.strerror}; {advice}") from error
    found = _scanned(text, path, _module_name(path))
    if not found:
        raise UserError(f"plugins: {file}: registers nothing; put @register in front of a class")
    return found


def make_importable(extension: Extension) -> None:
    """Make sure that importing the module of a plug-in file finds that file.

    The folder above the module's outermost package is appended to `sys.path`.

    Raises:
        UserError: another module has the same name.
    """
    if extension.module.startswith(PACKAGE + "."):
        return
    root = str(extension.file.parents[extension.module.count(".") + _is_package(extension.file)])
    if root not in sys.path:
        sys.path.append(root)
        importlib.invalidate_caches()
    found = code.source(extension.module)
    if found is None or found.resolve() != extension.file:
        raise UserError(
            f"{extension.file}: the module name {extension.module} already means {found}; rename "
            "the file"
        )


@cache
def built_in(kind: str) -> dict[str, Extension]:
    """The project's own extensions of a kind, by name."""
    found: dict[str, Extension] = {}
    for file in sorted(ROOT.glob(BUILT_IN[kind])) if kind in BUILT_IN else ():
        module = ".".join((PACKAGE, *file.relative_to(ROOT).with_suffix("").parts))
        for extension in _scanned(file.read_bytes(), file, module):
            if extension.kind == kind:
                found[extension.name] = extension
    return dict(sorted(found.items()))


@cache
def _installed() -> tuple[Extension, ...]:
    """The extensions of installed packages.

    Raises:
        UserError: an entry point names a module without source, or one that registers nothing.
    """
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, point.value))
    return tuple(each for point in points for each in _of_entry_point(point))


def _of_entry_point(point: EntryPoint) -> tuple[Extension, ...]:
    where = f"entry point {ENTRY_POINTS}: {point.name} = {point.value}"
    source = code.source(point.module)
    if source is None or source.suffix != ".py":
        raise UserError(f"{where}: no source of that module; install its package again")
    file = source.resolve()
    found = _scanned(file.read_bytes(), file, point.module)
    if not found:
        raise UserError(f"{where}: the module registers nothing")
    return found


def _module_name(file: Path) -> str:
    """The dotted name of a source file, from the outermost folder that is a package."""
    names = [] if _is_package(file) else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names)


def _is_package(file: Path) -> bool:
    return file.name == "__init__.py"


@cache
def _scanned(text: bytes, file: Path, module: str) -> tuple[Extension, ...]:
    """The extensions that the top level of a source file registers, in order.

    Raises:
        UserError: it is not Python, or an argument of `@register` is no literal.
    """
    if b"@register(" not in text:
        return ()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file}: not Python: {error}") from error
    found = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == register.__name__:
                kind, name, options = _arguments(call, file)
                if isinstance(node, ast.ClassDef):
                    options = {**_literals(node), **options}
                summary = (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
                found.append(Extension(kind, name, module, file, node.lineno, options, summary))
    return tuple(found)


def _arguments(call: ast.Call, file: Path) -> tuple[str, str, dict[str, Any]]:
    """Kind, name and options that a call of `register` gives."""
    try:
        positional = [ast.literal_eval(each) for each in call.args]
        options = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    except ValueError as error:
        raise UserError(
            f"{file}, line {call.lineno}: write the arguments of @register as plain values"
        ) from error
    given = {**dict(zip(("name", "kind"), positional, strict=False)), **options}
    name, kind = given.pop("name", None), given.pop("kind", "model")
    if not isinstance(name, str) or not name or kind not in get_args(Kind):
        raise UserError(
            f'{file}, line {call.lineno}: expected @register("name", kind), kind one of '
            f"{', '.join(get_args(Kind))}"
        )
    return kind, name, given


def _literals(node: ast.ClassDef) -> dict[str, Any]:
    """The attributes in a class body whose values are plain literals."""
    values: dict[str, Any] = {}
    for each in node.body:
        if isinstance(each, ast.Assign) and len(each.targets) == 1:
            target, value = each.targets[0], each.value
        elif isinstance(each, ast.AnnAssign) and each.value is not None:
            target, value = each.target, each.value
        else:
            continue
        if isinstance(target, ast.Name):
            try:
                values[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    return values
