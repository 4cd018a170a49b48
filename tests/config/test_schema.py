"""Every field has a meaning, which reaches the schema; a section is one class and one field."""

import inspect
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from prefect.utilities.callables import parameter_schema

from brmrs.config.load import load
from brmrs.config.pipeline import PipelineConfig
from brmrs.config.schema import overlay, schema
from brmrs.config.section import Section
from flows.full_pipeline import full_pipeline
from flows.server.parameters import takes_sections


def sections(of: type[Section]) -> Iterator[type[Section]]:
    """A section and all in it."""
    yield of
    for field in of.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections(field.annotation)


EVERY = list(sections(PipelineConfig))


@pytest.mark.parametrize("section", EVERY, ids=lambda section: section.__name__)
def test_every_section_and_field_has_a_description(section: type[Section]) -> None:
    assert inspect.getdoc(section) not in {None, inspect.getdoc(Section)}
    silent = [
        name
        for name, field in section.model_fields.items()
        if not field.description and name != "name"
    ]
    assert not silent


def test_the_editors_schema_knows_meaning_default_and_bounds() -> None:
    found = schema(PipelineConfig)
    jsonschema.Draft202012Validator.check_schema(found)
    rate = found["$defs"]["TrainConfig"]["properties"]["learning_rate"]
    assert rate["default"] == 0.001
    assert rate["exclusiveMinimum"] == 0
    assert rate["description"] == "Learning rate of Adam; the largest one if it changes."
    jsonschema.validate({"model": "bm3", "train": {"seed": 3}}, found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"train": {"sed": 3}}, found)


def keys(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a JSON schema that is no field's name, with the place it stands at."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield path, key
            if key == "properties":
                for name, inner in value.items():
                    yield from keys(inner, f"{path}.{name}")
            else:
                yield from keys(value, path)
    elif isinstance(node, list):
        for inner in node:
            yield from keys(inner, path)


def test_no_field_inside_a_section_has_a_default_in_the_flows_parameters() -> None:
    found = parameter_schema(full_pipeline).properties
    assert set(PipelineConfig.model_fields) <= set(found)
    for name in PipelineConfig.model_fields:
        assert found[name]["default"] is None
        inside = {key: value for key, value in found[name].items() if key != "default"}
        assert not {key for _, key in keys(inside)} & {"default", "required", "$ref"}
        words = str(PipelineConfig.model_fields[name].description).split()
        assert found[name]["description"].split() == words


@pytest.mark.parametrize(
    "given",
    [
        {"train": {"learning_rate": 0.0005}},
        {"model": "bm3"},
        {"model": {"dim": 8}},
        {"features": {"visual": {"layer": None}}},
        {"ingest": {"reviews": "a.gz"}},
    ],
)
def test_what_one_sets_is_all_that_changes(given: dict[str, Any]) -> None:
    parameters = parameter_schema(full_pipeline)
    jsonschema.validate(given, parameters.model_dump())
    ((section, value),) = given.items()
    changed = load(None, sections=given)
    expected = PipelineConfig().model_dump(mode="json")
    if isinstance(value, dict):
        found = changed.model_dump(mode="json", exclude_defaults=True)
        assert set(found) <= {section}
    else:
        assert changed.model_dump(mode="json", exclude={section}) == {
            name: each for name, each in expected.items() if name != section
        }


def test_a_parameter_that_is_null_sets_nothing() -> None:
    jsonschema.validate({"train": None}, parameter_schema(full_pipeline).model_dump())


@pytest.mark.parametrize("given", [{"train": {"epoch": 3}}, {"train": {"epochs": 0}}])
def test_the_form_refuses_what_the_configuration_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(given, parameter_schema(full_pipeline).model_dump())


class ExtraConfig(Section):
    """A section that a test adds."""

    depth: int = 3
    """How deep, in metres."""


class ExtendedConfig(PipelineConfig):
    """The configuration with one field more."""

    extra: ExtraConfig = ExtraConfig()
    """Something more."""


def test_a_new_section_is_one_class_and_one_field() -> None:
    def flow(*, config: str = "", **sections: Any) -> None:
        """Do nothing."""

    found = parameter_schema(takes_sections(flow, ExtendedConfig)).properties
    assert found["extra"]["anyOf"][0]["properties"]["depth"] == {
        "type": "integer",
        "title": "depth",
        "description": "How deep, in metres.",
    }
    assert overlay(ExtendedConfig)["extra"]["description"] == "Something more."
    depth = schema(ExtendedConfig)["$defs"]["ExtraConfig"]["properties"]["depth"]
    assert (depth["default"], depth["description"]) == (3, "How deep, in metres.")
