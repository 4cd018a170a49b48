"""`PipelineConfig`: the whole configuration, one field per section.

A new section is a subclass of `Section` and a field here; the flow's parameters, `brmrs config`
and the JSON schema follow.
"""

from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from brmrs.config import metric
from brmrs.config.data import ImagesConfig, IngestConfig, SplitConfig
from brmrs.config.features import FeaturesConfig
from brmrs.config.learning import (
    DiagnosisConfig,
    EvaluateConfig,
    GraphsConfig,
    PublishConfig,
    ReportConfig,
    RetrainConfig,
    TrainConfig,
)
from brmrs.config.machines import ExecutionConfig, StoreConfig
from brmrs.config.models import DEFAULT, ModelConfig, configure
from brmrs.config.section import NAME_PATTERN, Locations, Section
from brmrs.extensions import known


class PipelineConfig(Section):
    """The whole pipeline. A section that is left out has its defaults."""

    plugins: Locations = ()
    """Python files that register extensions, such as models (docs/extending.md)."""
    name: str = Field("dataset", pattern=NAME_PATTERN)
    """Name of the data set, in titles and run names."""
    note: str = ""
    """A remark shown beside every number, such as "synthetic data"."""
    ingest: IngestConfig = IngestConfig()
    """The data set."""
    split: SplitConfig = SplitConfig()
    """Training, validation and test."""
    features: FeaturesConfig = FeaturesConfig()
    """Text and visual vectors."""
    images: ImagesConfig = ImagesConfig()
    """Pictures."""
    graphs: GraphsConfig = GraphsConfig()
    """Item and user graphs."""
    model: ModelConfig = Field(default_factory=lambda: configure(DEFAULT))
    """The recommender: its name, or its name and hyper-parameters."""
    train: TrainConfig = TrainConfig()
    """Training."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Evaluation."""
    diagnosis: DiagnosisConfig = DiagnosisConfig()
    """Diagnosis of modality inconsistency."""
    publish: PublishConfig = PublishConfig()
    """Recommendations."""
    report: ReportConfig = ReportConfig()
    """The HTML report."""
    retrain: RetrainConfig = RetrainConfig()
    """Retraining and promotion; a plain run does not use it."""
    execution: ExecutionConfig = ExecutionConfig()
    """Where texts and pictures are embedded, pictures fetched and processes train together."""
    store: StoreConfig = StoreConfig()
    """The artifact store."""
    concurrency: Literal["wait", "refuse"] = "wait"
    """Behaviour while another run writes to the same artifacts: `wait`, or `refuse` to start."""

    @field_validator("train")
    @classmethod
    def _selection_exists(cls, train: TrainConfig, info: ValidationInfo) -> TrainConfig:
        """Plug-in files may register the metric, so the section cannot check it."""
        try:
            metric.checked(train.selection, known("metric", info.data.get("plugins", ())))
        except ValueError as error:
            problem = PydanticCustomError("metric", "{problem}", {"problem": str(error)})
            where = InitErrorDetails(type=problem, loc=("selection",), input=train.selection)
            raise ValidationError.from_exception_data("train", [where]) from error
        return train

    @field_validator("train")
    @classmethod
    def _columns_can_be_divided(cls, train: TrainConfig, info: ValidationInfo) -> TrainConfig:
        """Refused here, because features and graphs come first and may take hours."""
        model = info.data.get("model")
        if train.processes == 1 or model is None:
            return train
        dim = getattr(model, "dim", 0)
        if not model.extension.options.get("by_dimension", False) or model.undivided():
            what = f"model {model.name} {model.undivided()}".rstrip()
            problem = f"{what} trains in one process only; set train.processes=1"
        elif dim % train.processes:
            problem = f"{train.processes} does not divide model.dim, {dim}"
        else:
            return train
        fault = PydanticCustomError("processes", "{problem}", {"problem": problem})
        where = InitErrorDetails(type=fault, loc=("processes",), input=train.processes)
        raise ValidationError.from_exception_data("train", [where])

    @field_validator("train")
    @classmethod
    def _neighbours_can_be_sampled(cls, train: TrainConfig, info: ValidationInfo) -> TrainConfig:
        """Refused here, for the same reason."""
        model, sizes = info.data.get("model"), train.sampled_neighbours
        if sizes is None or model is None:
            return train
        layers = getattr(model, "layers", 0)
        layers += max(getattr(model, f"{kind}_layers", 0) for kind in ("item", "user"))
        if not model.extension.options.get("can_sample", False) or model.whole_graph():
            what = f"model {model.name} {model.whole_graph()}".rstrip()
            problem = f"{what} uses the whole graph in each step; set it to null"
        elif len(sizes) > layers:
            problem = f"{len(sizes)} numbers, and model {model.name} has {layers} layers"
        else:
            return train
        fault = PydanticCustomError("neighbours", "{problem}", {"problem": problem})
        where = InitErrorDetails(type=fault, loc=("sampled_neighbours",), input=list(sizes))
        raise ValidationError.from_exception_data("train", [where])

    def section(self, path: str) -> Any:
        """The section (or value) at a dotted path such as `features.text`."""
        value: Any = self
        for part in path.split("."):
            value = getattr(value, part)
        return value

    def only(self, paths: tuple[str, ...]) -> Self:
        """The same configuration with every section but these at its defaults.

        A stage gets this configuration, so it cannot use a section that it did not declare.
        """
        values: dict[str, Any] = {"plugins": self.plugins}
        for path in paths:
            put(values, path, self.section(path))
        return type(self).model_validate(values)

    def to_yaml(self) -> str:
        """YAML that `brmrs.config.load.load` reads back to an equal configuration.

        Relative paths are then relative to the file's folder.
        """
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def put(values: dict[str, Any], path: str, value: object) -> None:
    """Set the value at a dotted path, making the sections on the way.

    Raises:
        TypeError: the path treats a value as a section.
    """
    *sections, field = path.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if isinstance(inner, str) and section == "model":  # `model: lightgcn`
            inner = values[section] = {"name": inner}
        if not isinstance(inner, dict):
            raise TypeError(f"{section} is a value, not a section")
        values = inner
    values[field] = value
