"""The configuration of recommenders: each model's own section, looked up by the model's name.

A model's section is the class `Config` inside the model's class. It is read from the model's file
without running the rest of that file: importing a model loads torch, which takes two seconds. So
`Config` may use only what its file imports from the modules in `READABLE`.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from brmrs import extensions
from brmrs.config.residuals import ResidualsConfig
from brmrs.config.section import Section, Weight
from brmrs.errors import UserError
from brmrs.extensions import Extension

READABLE = ("brmrs.columns", "brmrs.config", "collections.abc", "pathlib", "pydantic", "typing")
DEFAULT = "br-mrs"
NAME = "name"  # the field that names the model


class ModelSection(Section):
    """The base of every model's `Config`."""

    extension: ClassVar[Extension]

    name: str = ""
    """The model's name, as `brmrs models` lists it."""
    residuals: ResidualsConfig = ResidualsConfig()
    """Scores that are added to the trained model's; by default none."""

    @model_validator(mode="after")
    def _the_second_model_is_another(self) -> Self:
        if self.name == "ssc" and self.residuals.ssc > 0:
            raise ValueError("residuals.ssc would have no effect: it would train the model again")
        return self

    def undivided(self) -> str:
        """The setting because of which only one process can train the model; empty: none."""
        return ""

    def whole_graph(self) -> str:
        """The setting because of which a step needs the whole graph; empty: none."""
        return ""


class RankingTerms(Section):
    """The ranking terms of BR-MRS (docs/method.md, 2.4 to 2.6): their weights and settings."""

    chns: Weight
    """lambda_h: weight of cross-modal hard negative sampling (CHNS)."""
    synergy: Weight
    """lambda_s: weight of the synergy-aware BPR loss."""
    bpr: Weight = 1.0
    """Weight of the BPR loss on the fused score."""
    theta: float = Field(0.0, ge=0)
    """Margin by which the fused margin should exceed the better modality's, in units of score."""
    pool: int = Field(2, gt=0)
    """|N(u)|: candidates that CHNS draws for each positive item."""
    detach_reference: bool = True
    """Whether max(Delta_t, Delta_v) in the synergy loss gets no gradient."""
    sampler: Literal["cross-modal", "own-modality", "uniform"] = "cross-modal"
    """The negative that a branch is trained against: the hardest for the other modality (CHNS), the
    hardest for itself, or the first one."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.chns + self.synergy + self.bpr == 0:
            raise ValueError("chns, synergy and bpr are all 0, so nothing is learned; set one")
        if self.chns == 0 and self.sampler != "cross-modal":
            raise ValueError(f"sampler={self.sampler} has no effect while chns is 0; set chns, too")
        return self


class ObjectiveConfig(RankingTerms):
    """`model.objective`: the ranking terms of BR-MRS on another model; by default only BPR."""

    chns: Weight = 0.0
    """lambda_h: weight of cross-modal hard negative sampling (CHNS)."""
    synergy: Weight = 0.0
    """lambda_s: weight of the synergy-aware BPR loss."""


def names(plugins: Iterable[Path] = ()) -> list[str]:
    """The models by name, sorted.

    Raises:
        UserError: a plug-in file cannot be read.
    """
    return sorted(extensions.known("model", plugins))


def section(name: str, plugins: Iterable[Path] = ()) -> type[ModelSection]:
    """The configuration class of a model.

    Raises:
        UserError: there is no such model, or its `Config` cannot be read.
    """
    return section_of(extensions.find("model", name, plugins))


def configure(name: str, **values: Any) -> ModelSection:
    """The configuration of a built-in or installed model.

    Raises:
        UserError: there is no such model.
        ValidationError: a field is unknown or out of range.
    """
    return section(name).model_validate(values)


def takes_objective(plugins: Iterable[Path] = ()) -> list[str]:
    """The models that have `model.objective`, by name."""
    return [name for name in names(plugins) if "objective" in section(name, plugins).model_fields]


def section_of(extension: Extension) -> type[ModelSection]:
    """The configuration class of an extension of the kind "model".

    Raises:
        UserError: its `Config` cannot be read.
    """
    stamp = extension.file.stat().st_mtime_ns
    where = extension.file, extension.module, extension.name, extension.line
    made = _read(*where, extension.summary, stamp)
    made.extension = extension
    return made


@cache
def _read(
    file: Path, module: str, name: str, line: int, summary: str, stamp: int
) -> type[ModelSection]:
    """The `Config` of the class in a line of a file, named; a changed file is read again."""
    del stamp
    tree = ast.parse(file.read_bytes())
    model = next(node for node in tree.body if getattr(node, "lineno", 0) == line)
    assert isinstance(model, ast.ClassDef | ast.FunctionDef)
    nested = [node for node in model.body if isinstance(node, ast.ClassDef)]
    config = next((node for node in nested if node.name == "Config"), None)
    base = ModelSection if config is None else _evaluated(config, tree, file, module, name)
    title = ModelSection.model_fields[NAME].description
    return create_model(
        f"{model.name}Config",
        __base__=base,
        __module__=module,
        __doc__=summary,
        name=(Literal[name], Field(name, description=title)),  # type: ignore[arg-type]
    )


def _evaluated(
    config: ast.ClassDef, tree: ast.Module, file: Path, module: str, name: str
) -> type[ModelSection]:
    """The class of a class statement, made with only the readable imports of its file."""
    imports = [node for node in tree.body if _readable(node)]
    space: dict[str, Any] = {"__name__": module}
    try:
        code = compile(ast.Module([*imports, config], type_ignores=[]), str(file), "exec")
        exec(code, space)
    except Exception as error:
        raise UserError(
            f"{file}: the Config of model {name} cannot be read: {error}; it may use only what the "
            f"file imports from {', '.join(READABLE)}"
        ) from error
    made = space["Config"]
    if not issubclass(made, ModelSection):
        raise UserError(f"{file}: the Config of model {name} must inherit from ModelSection")
    return made  # type: ignore[no-any-return]


def _readable(node: ast.stmt) -> bool:
    """Whether a statement imports only from `READABLE`."""
    if isinstance(node, ast.ImportFrom):
        modules = [node.module or ""] if node.level == 0 else []
    elif isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    else:
        return False
    return bool(modules) and all(
        any(f"{module}.".startswith(f"{each}.") for each in READABLE) for module in modules
    )


class _ByName:
    """Pydantic's validation, output and schema of `model`, by the model's name."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.with_info_plain_validator_function(_validated)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The built-in models' sections, and no others: plug-ins are not known beforehand."""
        del schema
        choices = {
            name: section_of(extension).__pydantic_core_schema__
            for name, extension in extensions.built_in("model").items()
        }
        return handler(core_schema.tagged_union_schema(choices, discriminator="name"))


def _validated(value: Any, info: core_schema.ValidationInfo) -> ModelSection:
    """The section that a value names, with the value's fields."""
    plugins = (info.data or {}).get("plugins", ())
    given = value
    if isinstance(value, ModelSection):
        given = {each: getattr(value, each) for each in {NAME, *value.model_fields_set}}
    elif isinstance(value, str):
        given = {NAME: value}
    name = given.get(NAME) if isinstance(given, dict) else None
    if not isinstance(name, str) or not name:
        raise PydanticCustomError("model_name", "name a model, such as lightgcn")
    extension = extensions.look_up("model", name, plugins)
    if extension is None:
        problem = extensions.missing("model", name, names(plugins))
        raise PydanticCustomError("model_name", "{problem}", {"problem": problem})
    wanted = section_of(extension)
    return value if type(value) is wanted else wanted.model_validate(given)


ModelConfig = Annotated[ModelSection, _ByName]
