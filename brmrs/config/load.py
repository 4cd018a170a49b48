"""Configuration files and `--set` overrides, and what is wrong with them in one line."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from brmrs.config import models, renamed
from brmrs.config.models import ModelSection, RankingTerms
from brmrs.config.pipeline import PipelineConfig, put
from brmrs.config.shipped import find
from brmrs.errors import UserError

PLUGINS = "plugins"
NAME = "name"  # of a model: hyper-parameters of one mean nothing to another


def load(
    path: Path,
    overrides: tuple[str, ...] = (),
    over: tuple[Path, ...] = (),
    *,
    model: str | None = None,
) -> PipelineConfig:
    """Read a YAML file, lay others over it, and apply `a.b=value` overrides.

    The values of overrides are YAML, too, but the unquoted value of a text field is that text:
    `features.text.template={title}` sets a template, not a mapping. Plug-in files add up: those of
    each file and of each override `plugins=FILE`.

    Args:
        path: the file; `configs/...` is also looked for among the shipped ones.
        overrides: the last one wins.
        over: files with some of the sections; each field that they set wins over those before. A
            model of another name replaces the model with all its fields.
        model: of this name; laid over the first file, likewise.

    Raises:
        UserError: a file cannot be read or parsed, or a field is unknown or out of range.
    """
    path, over = find(path), tuple(map(find, over))
    values = _read(path)
    if model:
        _lay(values, {"model": {NAME: model}})
    for file in over:
        _lay(values, _read(file))
    for override in sorted(overrides, key=_depth):  # `model=bm3` before `model.dim=32`
        name, equals, text = override.partition("=")
        if not equals or not all(name.split(".")):
            raise UserError(f"--set {override}: expected SECTION.FIELD=VALUE")
        try:
            value = _value(name, text)
            if name == PLUGINS:
                _lay(values, {PLUGINS: value})
            else:
                put(values, name, value)
        except (TypeError, yaml.YAMLError) as error:
            raise UserError(f"--set {override}: {' '.join(str(error).split())}") from error
    return parse(values, source=", ".join(map(str, (path, *over))))


def _read(path: Path) -> dict[str, Any]:
    """The plain values of one file."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; pass an existing file with -c") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected `section: values`, found {type(values).__name__}")
    if isinstance(values.get("model"), str):
        values["model"] = {NAME: values["model"]}
    return values


def _lay(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Put the values of `over` into `base`, section by section; plug-ins add up."""
    for name, value in over.items():
        old = base.get(name)
        if name == PLUGINS:
            base[name] = [*_listed(old), *_listed(value)]
        elif isinstance(old, dict) and isinstance(value, dict) and _alike(old, value):
            _lay(old, value)
        else:
            base[name] = value


def _listed(value: Any) -> list[Any]:
    """A list of one or more values; none where the field is not set."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _alike(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether both are of one section, and not of two models."""
    return NAME not in new or new[NAME] == old.get(NAME)


def parse(values: dict[str, Any], source: str) -> PipelineConfig:
    """Check plain values.

    Raises:
        UserError: names `source` and every wrong field.
    """
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(_described(fault, values) for fault in error.errors())
        raise UserError(f"{source}: {faults}") from error


def _depth(override: str) -> int:
    return override.partition("=")[0].count(".")


def _value(name: str, text: str) -> object:
    """The value of an override."""
    if _type(name.split(".")) is str and not text.startswith(("'", '"')):
        return text
    return yaml.safe_load(text)


def _described(fault: ErrorDetails, values: dict[str, Any]) -> str:
    """One fault: the field's dotted path and what is wrong with it."""
    path = [str(part) for part in fault["loc"]]
    where = ".".join(path) or "configuration"
    if instead := renamed.instead(where, fault):
        return f"{where}: {instead}"
    if fault["type"] != "extra_forbidden":
        return f"{where}: {fault['msg'].removeprefix('Value error, ')}"
    section: Any = PipelineConfig
    if path[0] == "model" and len(path) > 1:
        section, path = _model_section(values), path[1:]
        if path == ["objective"]:
            return f"{where}: {_no_objective(section)}"
    fields = getattr(_type(path[:-1], section), "model_fields", ())
    if new := next((each for each in renamed.MODEL_FIELDS.get(path[-1], ()) if each in fields), ""):
        return f"{where}: renamed to {where.removesuffix(path[-1])}{new}"
    near = get_close_matches(path[-1], fields, 1)
    if "objective" in fields and path[-1] in RankingTerms.model_fields:
        near = [f"model.objective.{path[-1]}"]
    return f"{where}: no such field" + (f"; did you mean {near[0]}?" if near else "")


def _model_section(values: dict[str, Any]) -> type[ModelSection]:
    """The section of the model that valid values name."""
    model = values.get("model", models.DEFAULT)
    name = model[NAME] if isinstance(model, dict) else getattr(model, NAME, model)
    return models.section(name, tuple(map(Path, _listed(values.get(PLUGINS)))))


def _no_objective(section: type[ModelSection]) -> str:
    """Why a model has no section `objective`."""
    name = section.model_fields[NAME].default
    if issubclass(section, RankingTerms):
        return f"{name} has these fields itself, such as model.chns"
    takers = ", ".join(models.takes_objective())
    return f"{name} has no text and visual branches that could take an objective; {takers} have"


def _type(path: list[str], found: Any = PipelineConfig) -> Any:
    """The type of the section or field at a path; None where there is no such, or a choice."""
    for part in path:
        fields = getattr(found, "model_fields", {})
        found = fields[part].annotation if part in fields else None
    return found
