"""Read a configuration from files, `--set` overrides and a flow's parameters."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from brmrs.config import models, plain
from brmrs.config.faults import Fault, faults
from brmrs.config.models import NAME
from brmrs.config.pipeline import PipelineConfig, put
from brmrs.config.places import anchored
from brmrs.config.section import PLACE
from brmrs.config.shipped import find, shipped_names
from brmrs.errors import UserError
from brmrs.suggest import instead
from brmrs.system.named_file import read_named

PLUGINS = "plugins"
SHOWN = 80  # characters of an override in an error


class _Layer(NamedTuple):
    """Some values of the configuration, and where they come from."""

    source: str
    values: dict[str, Any]


def load(
    path: Path | None,
    overrides: Sequence[str] = (),
    over: Sequence[Path] = (),
    *,
    model: str | None = None,
    sections: Mapping[str, Any] | None = None,
) -> PipelineConfig:
    """Read YAML files, each overriding the one before, and apply `a.b=value` overrides.

    Each layer sets only the fields that it contains. A model of another name replaces the model
    with all its fields. Paths in a file are relative to the file's folder, all others to the
    working directory. Plug-in files add up.

    The values of overrides are YAML, too, but the unquoted value of a text or path is that text:
    `features.text.template={title}` sets a template, not a mapping.

    Args:
        path: the file; `configs/...` is also looked for among the shipped ones. None: start from
            the defaults.
        overrides: of the same field, the last one wins.
        over: more files, the later wins.
        model: its name; overrides the first file.
        sections: plain values that override all files, from a flow's parameters.

    Raises:
        UserError: a file cannot be read or parsed, or a field is unknown or out of range.
    """
    layers = [] if path is None else [_of_file(path)]
    if model:
        layers.append(_Layer(f"model {model}", {"model": {NAME: model}}))
    layers += map(_of_file, over)
    # `model=bm3` before `model.dim=32`
    layers += map(_of_override, sorted(overrides, key=lambda each: _name(each).count(".")))
    if sections:
        layers.append(_of_parameters(sections))
    values: dict[str, Any] = {"model": {NAME: models.DEFAULT}}
    for layer in layers:
        values = _laid(values, layer.values)
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        found = faults(error, values)
        lines = [f"{_sources(fault, layers)}: {fault.message}" for fault in found]
        raise UserError("; ".join(lines)) from error


def load_sections(path: Path, names: Collection[str]) -> PipelineConfig:
    """Some sections of one file; all others are the defaults. Its plug-ins are not read.

    Raises:
        UserError: the file cannot be read, or one of these sections is wrong.
    """
    values = _of_file(path).values
    return parse({name: values[name] for name in names if name in values}, str(path))


def parse(values: dict[str, Any], source: str) -> PipelineConfig:
    """Check plain values.

    Raises:
        UserError: names `source` and every wrong field.
    """
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        found = "; ".join(fault.message for fault in faults(error, values))
        raise UserError(f"{source}: {found}") from error


def _of_file(path: Path) -> _Layer:
    """The plain values of one file."""
    try:
        values = plain.from_yaml(read_named(find(path)).decode())
    except OSError as error:
        advice = instead(path, "pass an existing file with -c", shipped_names())
        raise UserError(f"{path}: {error.strerror}; {advice}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not YAML: {error}") from error
    except plain.NotPlainError as error:
        raise UserError(f"{path}: {error}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected `section: values`, found {type(values).__name__}")
    try:
        return _Layer(str(path), anchored(_named(values), path.parent))
    except plain.NotPlainError as error:
        raise UserError(f"{path}: {error}") from error


def _of_override(override: str) -> _Layer:
    """The value of one `SECTION.FIELD=VALUE`."""
    name, equals, text = override.partition("=")
    shown = override if len(override) <= SHOWN else f"{override[:SHOWN]}..."
    source = "--set " + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
    if not equals or not all(name.split(".")):
        raise UserError(f"{source}: expected SECTION.FIELD=VALUE")
    values: dict[str, Any] = {}
    try:
        put(values, name, _value(name, text))
        plain.check(values)
        return _Layer(source, anchored(_named(values), Path()))
    except plain.NotPlainError as error:
        raise UserError(f"{source}: {error}") from error


def _of_parameters(sections: Mapping[str, Any]) -> _Layer:
    """The values that a flow's parameters set."""
    try:
        plain.check(dict(sections))
        return _Layer("parameters", anchored(_named(dict(sections)), Path()))
    except plain.NotPlainError as error:
        raise UserError(f"parameters: {error}") from error


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """`model: lightgcn` is short for `model: {name: lightgcn}`."""
    model = values.get("model")
    return {**values, "model": {NAME: model}} if isinstance(model, str) else values


def _laid(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The values of `base`, overridden by those of `over`, section by section."""
    laid = dict(base)
    for name, value in over.items():
        old = base.get(name)
        if name == PLUGINS:
            laid[name] = [*_listed(old), *_listed(value)]
        elif isinstance(old, dict) and isinstance(value, dict) and _of_one_kind(old, value):
            laid[name] = _laid(old, value)
        else:
            laid[name] = value
    return laid


def _listed(value: Any) -> list[Any]:
    """A list of one or more values; empty where the field is not set."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _of_one_kind(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether both are of one section, and not of two models."""
    return NAME not in new or new[NAME] == old.get(NAME)


def _name(override: str) -> str:
    return override.partition("=")[0]


def _value(name: str, text: str) -> object:
    """The value of an override: YAML, unless its field takes texts or paths."""
    annotation, metadata = _field(name.split("."))
    quoted = text.startswith(("'", '"'))
    if annotation is str and not quoted:
        return text
    if PLACE in metadata and not quoted and not text.startswith("[") and text not in {"null", "~"}:
        return text
    return plain.from_yaml(text)


def _field(path: list[str]) -> tuple[Any, list[Any]]:
    """The type of a field and its markers; empty if there is no such field."""
    found: Any = PipelineConfig
    metadata: list[Any] = []
    for part in path:
        field = getattr(found, "model_fields", {}).get(part)
        found, metadata = (field.annotation, field.metadata) if field else (None, [])
    return found, metadata


def _sources(fault: Fault, layers: Sequence[_Layer]) -> str:
    """The source of a wrong value: the last layer that sets it; for a section, all that do."""
    setting = [layer for layer in layers if _sets(layer.values, fault.path)]
    if not setting:
        setting = list(layers)
    elif not isinstance(_at(setting[-1].values, fault.path), dict):
        setting = setting[-1:]
    return ", ".join(layer.source for layer in setting)


def _sets(values: Any, path: Sequence[str]) -> bool:
    """Whether plain values hold something at a path, or a value where the path has a section."""
    for part in path:
        if not isinstance(values, dict):
            return True
        if part not in values:
            return False
        values = values[part]
    return True


def _at(values: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(values, dict):
            return values
        values = values[part]
    return values
