"""Cache keys: everything that a stage's output depends on, in parts that explain a change."""

from collections.abc import Mapping
from typing import Any

from brmrs import extensions
from brmrs.config.pipeline import PipelineConfig
from brmrs.config.section import Section
from brmrs.extensions import Extension
from brmrs.ingest import formats
from brmrs.stages import Stage
from brmrs.store.records import Artifact
from brmrs.system import code
from brmrs.system.files import digest_json

# The parts of a key: {"code": {module: digest}, "libraries": {name: version}, "configuration":
# {field: value}, "input": {declared read: digest}}.
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
        fingerprint: digests of the input files (see `brmrs.store.fingerprint`).
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
    imported = {name for module in modules for name in code.libraries(module)}
    versions = {name: code.library_version(name) for name in sorted({*imported, *stage.libraries})}
    return {
        "code": {module: code.digest(module) for module in sorted(modules)},
        "libraries": versions,
        "configuration": values,
    }


def key(stage: Stage, key_parts: Parts) -> str:
    """The cache key."""
    return digest_json({"stage": stage.name, **key_parts})


def _modules(stage: Stage, config: PipelineConfig) -> set[str]:
    """Every module that the stage imports, directly or indirectly, of the project or a plug-in.

    Of the models, only the configured one is included.
    """
    if stage.extension:
        extensions.make_importable(stage.extension)
    modules = set(code.closure(stage.module))
    for extension in extensions_used(stage, config):
        extensions.make_importable(extension)
        modules |= code.closure(extension.module)
    return modules


def extensions_used(stage: Stage, config: PipelineConfig) -> list[Extension]:
    """The extensions that a stage runs with this configuration."""
    if stage.name == "ingest":
        return [formats.extension(config.ingest.format, config.plugins)]
    if stage.name == "evaluate":
        return list(extensions.known("metric", config.plugins).values())
    if stage.name in {"visual_training", "visual_features"}:
        backbone = extensions.look_up("backbone", config.features.visual.backbone, config.plugins)
        return [backbone] if backbone else []
    if stage.name == "train":
        kind = config.train.selection.partition("@")[0]
        metric = extensions.look_up("metric", kind, config.plugins)
        return [config.model.extension, *([metric] if metric else [])]
    return []


def flatten(path: str, value: object, into: dict[str, Any]) -> None:
    """{"train": {"seed": 0}} to {"train.seed": 0}."""
    if isinstance(value, dict):
        for name, inner in value.items():
            flatten(f"{path}.{name}", inner, into)
    else:
        into[path] = value
