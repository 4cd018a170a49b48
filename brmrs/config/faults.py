"""One-line messages for the faults in a configuration, made from pydantic's errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from brmrs.config import models, renamed
from brmrs.config.models import ModelSection, RankingTerms
from brmrs.config.pipeline import PipelineConfig
from brmrs.config.section import NAME_PATTERN, Section
from brmrs.suggest import SHOWN, did_you_mean, nearest, nearest_field, of_last_part

LONGEST = 60  # characters shown of a value


class Fault(NamedTuple):
    """One wrong field.

    Attributes:
        path: the names on the way to it; of a section, those of the section.
        message: the dotted path, the value, and what is wrong with it.
    """

    path: tuple[str, ...]
    message: str


def faults(error: ValidationError, values: dict[str, Any]) -> list[Fault]:
    """All wrong fields, in order; each once, though pydantic tries every member of a union.

    Args:
        error: pydantic's.
        values: of the whole configuration.
    """
    every = [(_path(details), details) for details in error.errors()]
    by_path: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for path, details in every:
        if details["type"] == "too_short" and any(other[:-1] == path for other, _ in every):
            continue  # pydantic removes wrong items from the list
        by_path.setdefault(path, []).append(_words(path, details, values))
    return [
        Fault(path, f"{words[0][0]}: {' or '.join(dict.fromkeys(text for _, text in words))}")
        for path, words in by_path.items()
    ]


def _path(details: ErrorDetails) -> tuple[str, ...]:
    """The names of fields (and positions in lists) on the way to the fault.

    Pydantic's location also names the members of unions that it tried.
    """
    path: list[str] = []
    section: Any = PipelineConfig
    for part in details["loc"]:
        fields = getattr(section, "model_fields", None)
        if path[:1] == ["model"] or isinstance(part, int):
            path.append(str(part))
        elif fields is not None:
            path.append(str(part))
            section = fields[part].annotation if part in fields else None
    return tuple(path)


def _words(path: tuple[str, ...], details: ErrorDetails, values: dict[str, Any]) -> tuple[str, str]:
    """The field with its value, and what is wrong with it."""
    where = ".".join(path) or "configuration"
    if instead := renamed.instead(where, details):
        return where, instead
    if details["type"] == "extra_forbidden":
        return where, _no_field(path, details["input"], values)
    text = details["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if details["type"] == "string_pattern_mismatch" and details["ctx"]["pattern"] == NAME_PATTERN:
        text = "use only letters, digits, '_', '.' and '-'"
    if details["type"].startswith("byte_size"):
        text = "must be a size, such as 8GB"
    if details["type"] in {"model_type", "model_attributes_type"}:
        text = "must be a section: `field: value`"
    value = details["input"]
    if details["type"] in {"missing", "model_name"} or isinstance(value, dict):
        return where, text
    return f"{where} = {_shown(value)}", text


def _shown(value: object) -> str:
    """A value as in YAML, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = ascii(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _no_field(path: tuple[str, ...], value: object, values: dict[str, Any]) -> str:
    """Why a field is unknown, and which one may be meant: of the section, or of any other."""
    section: Any = PipelineConfig
    inside = path
    if path[0] == "model" and len(path) > 1:
        section, inside = _model_section(values), path[1:]
        if inside == ("objective",):
            return _no_objective(section)
    for part in inside[:-1]:
        section = section.model_fields[part].annotation
    fields = section.model_fields
    for new in renamed.MODEL_FIELDS.get(path[-1], ()):
        if path[0] == "model" and new in fields:
            return f"renamed to {'.'.join((*path[:-1], new))}"
    known = list(_all_fields(PipelineConfig, values))
    alike = nearest_field(".".join(path), known)
    near = of_last_part(path[-1], alike) or nearest(path[-1], fields)
    if not near and isinstance(value, dict):  # an unknown section, perhaps of a known field
        near = [each for name in value for each in of_last_part(str(name), known)][:SHOWN]
    return f"no such field{did_you_mean(near or alike)}"


def _all_fields(section: type[Section], values: dict[str, Any]) -> Iterator[str]:
    """The dotted paths of the fields and sections in a section."""
    for name, field in section.model_fields.items():
        yield name
        inner: Any = field.annotation
        if section is PipelineConfig and name == "model":
            try:
                inner = _model_section(values)
            except Exception:  # a wrong model or plug-in is a fault of its own
                continue
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from (f"{name}.{each}" for each in _all_fields(inner, values))


def _model_section(values: dict[str, Any]) -> type[ModelSection]:
    """The section of the model that valid values name."""
    model = values.get("model", models.DEFAULT)
    name = model[models.NAME] if isinstance(model, dict) else getattr(model, models.NAME, model)
    plugins = values.get("plugins", ())
    files = (plugins,) if isinstance(plugins, str | Path) else plugins
    return models.section(name, tuple(map(Path, files)))


def _no_objective(section: type[ModelSection]) -> str:
    """Why a model has no section `objective`."""
    name = section.model_fields[models.NAME].default
    if issubclass(section, RankingTerms):
        return f"{name} has these fields itself, such as model.chns"
    takers = ", ".join(models.takes_objective())
    return f"{name} has no text and visual branches that could take an objective; {takers} have"
