"""The parameters of a flow, derived from the configuration: one for each of its fields."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import WithJsonSchema

from brmrs.config.pipeline import PipelineConfig
from brmrs.config.schema import Schema, overlay
from brmrs.config.section import Section

F = TypeVar("F", bound=Callable[..., Any])


def takes_sections(function: F, config: type[Section] = PipelineConfig) -> F:
    """Replace the `**sections` of a flow by an optional parameter for each configuration field.

    A parameter's value is plain. It overrides the file's values and is checked then. Its JSON
    schema, which Prefect's form follows, has no defaults.

    Args:
        function: takes keyword parameters and `**sections`.
        config: the configuration.
    """
    own = inspect.signature(function)
    sections = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Any, WithJsonSchema(_or_null(schema))],
        )
        for name, schema in overlay(config).items()
    ]
    kept = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    function.__signature__ = own.replace(parameters=[*kept, *sections])  # type: ignore[attr-defined]
    return function


def _or_null(schema: Schema) -> Schema:
    """Null is the default of a parameter, and a client may send it: it sets nothing."""
    about = {"description": schema["description"]} if "description" in schema else {}
    return {**about, "anyOf": [schema, {"type": "null"}]}
