"""Descriptions of all configuration fields: the data of `brmrs config`."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from brmrs.config import models
from brmrs.config.schema import Schema, schema
from brmrs.config.section import Section
from brmrs.errors import UserError
from brmrs.suggest import did_you_mean, nearest_field

MODEL = "model"
LARGE = 2**60  # larger bounds are limits of number types and are not shown
BOUNDS = {
    "exclusiveMinimum": ">",
    "minimum": ">=",
    "exclusiveMaximum": "<",
    "maximum": "<=",
    "multipleOf": "a multiple of",
}


class Row(NamedTuple):
    """One field, or one section.

    Attributes:
        path: dotted.
        type: what values it takes; "section" of a section.
        default: as in YAML; "" of a section.
        meaning: with the unit.
    """

    path: str
    type: str
    default: str
    meaning: str


def rows(
    of: type[Section], wanted: str | None = None, plugins: Iterable[Path] = ()
) -> Iterator[Row]:
    """The fields of the configuration, each section before its fields.

    Args:
        of: the whole configuration.
        wanted: a dotted path of a section or field, or the name of a model; None: everything, with
            the default model.
        plugins: files that register models.

    Raises:
        UserError: there is no such section, field or model.
    """
    files = tuple(plugins)
    of_models = models.names(files)
    model = wanted if wanted in of_models else models.DEFAULT
    every = list(_all(of, model, files))
    prefix = MODEL if wanted in of_models else wanted
    if prefix is None:
        yield from every
        return
    found = [row for row in every if f"{row.path}.".startswith(f"{prefix}.")]
    if not found:
        known = [row.path for row in every] + of_models
        hint = did_you_mean(nearest_field(prefix, known))
        sections = ", ".join(row.path for row in every if row.type == "section")
        raise UserError(
            f"no section, field or model {prefix!r}{hint or ';'} the sections are {sections}"
        )
    yield from found


def _all(of: type[Section], model: str, plugins: tuple[Path, ...]) -> Iterator[Row]:
    whole = schema(of)
    for name, part in whole["properties"].items():
        if name == MODEL:
            config = models.section(model, plugins)
            own = config.model_json_schema()
            names = " | ".join(models.names(plugins))
            about = f"{part['description']} Shown: {model}. `brmrs config NAME` shows another."
            yield Row(MODEL, "section", "", about)
            yield Row("model.name", names, json.dumps(models.DEFAULT), "Name of the recommender.")
            fields = {key: value for key, value in own["properties"].items() if key != models.NAME}
            for key, value in fields.items():
                yield from _rows(f"{MODEL}.{key}", value, own.get("$defs", {}))
        else:
            yield from _rows(name, part, whole["$defs"])


def _rows(path: str, node: Schema, definitions: dict[str, Schema]) -> Iterator[Row]:
    about = " ".join(node.get("description", "").split())
    default = node.get("default")
    node = _resolved(node, definitions)
    if "properties" in node:
        words = node.get("description", about)  # the class has the longer description
        yield Row(path, "section", "", " ".join(words.split()))
        for name, inner in node["properties"].items():
            yield from _rows(f"{path}.{name}", inner, definitions)
    else:
        yield Row(path, _type(node, definitions), json.dumps(default, ensure_ascii=False), about)


def _resolved(node: Schema, definitions: dict[str, Schema]) -> Schema:
    reference = node.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else node


def _type(node: Schema, definitions: dict[str, Schema]) -> str:
    """Description of the values that a JSON schema allows."""
    node = _resolved(node, definitions)
    if "anyOf" in node:
        return " or ".join(_type(inner, definitions) for inner in node["anyOf"])
    if "enum" in node:
        return " | ".join(map(str, node["enum"]))
    if node.get("type") == "array":
        items: Any = node.get("items", {})
        return f"list of {_type(items, definitions)}"
    names = {"boolean": "true | false", "string": "text"}
    kind: str = node.get("type", "value")
    name: str = "path" if node.get("format") == "path" else names.get(kind, kind)
    bounds = [
        f"{words} {node[key]}" for key, words in BOUNDS.items() if node.get(key, LARGE) < LARGE
    ]
    return " ".join([name, ", ".join(bounds)]).strip()
