"""JSON schemas of the configuration: for editors, and for a flow's parameters."""

from typing import Any

from brmrs.config.models import names
from brmrs.config.section import Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def schema(of: type[Section]) -> Schema:
    """The JSON schema of configuration files, with meanings and defaults of all fields.

    Args:
        of: the whole configuration.
    """
    found = {"$schema": DIALECT, **_whole(of)}
    model = found["properties"]["model"]
    found["properties"]["model"] = _model_by_name(model)
    return found


def overlay(of: type[Section]) -> dict[str, Schema]:
    """By field of the configuration, the schema of values that are laid over a file's.

    Nothing is required and nothing has a default: a form that shows a section would submit its
    defaults, and they would override the file. References are resolved.

    Args:
        of: the whole configuration.
    """
    whole = _whole(of)
    parts = {
        name: _bare(part, whole.get("$defs", {})) for name, part in whole["properties"].items()
    }
    return {**parts, "model": _model_by_name(parts["model"])}


def _whole(of: type[Section]) -> Schema:
    """Pydantic's JSON schema, descriptions without the line breaks of the source."""
    whole: Schema = of.model_json_schema()
    todo: list[Any] = [whole]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            todo += node.values()
            if isinstance(text := node.get("description"), str):
                node["description"] = " ".join(text.split())
        elif isinstance(node, list):
            todo += node
    return whole


def _model_by_name(model: Schema) -> Schema:
    """`model: lightgcn` is short for `model: {name: lightgcn}`."""
    about = {"description": model["description"]} if "description" in model else {}
    return {**about, "anyOf": [{"enum": names()}, model]}


def _bare(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """A schema without references, defaults, required fields and titles."""
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    bare: Schema = {}
    for key, value in node.items():
        if key in {"default", "required", "title", "discriminator"}:
            continue
        if key == "properties":
            bare[key] = {
                name: {"title": name, **_bare(inner, definitions)} for name, inner in value.items()
            }
        elif key in {"anyOf", "oneOf", "allOf", "prefixItems"}:
            # Fields of a model without its name suit several models: any of them will do.
            name = "anyOf" if key == "oneOf" else key
            bare[name] = [_bare(inner, definitions) for inner in value]
        else:
            bare[key] = _bare(value, definitions) if isinstance(value, dict) else value
    return bare
