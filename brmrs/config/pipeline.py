"""The typed configuration: one frozen model per stage, and `PipelineConfig` that holds them.

A field that says where bytes lie, or how hard to work, is marked `KEYLESS`: it never enters a cache
key. The digest of the bytes does.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from brmrs.config import template
from brmrs.config.models import DEFAULT, ModelConfig, configure
from brmrs.config.section import KEYLESS, Effort, Rate, Section, SectionT, Seed, Share, Weight


def _as_tuple(value: object) -> object:
    """One path may stand for a list of one."""
    return (value,) if isinstance(value, str | Path) else value


def _checked_template(value: str) -> str:
    """A template that `template.parse` accepts."""
    template.parse(value)
    return value


IMPORTED = "imported"  # features that a benchmark brings along, instead of a model's
Location = Annotated[Path | None, KEYLESS]
_OneOrMore = BeforeValidator(_as_tuple, json_schema_input_type=str | list[str])
Locations = Annotated[tuple[Path, ...], _OneOrMore, KEYLESS]
SELECTION = r"^(recall|ndcg)@[1-9]\d*$"
# "auto": bf16 where the processor is made for it and it is as good (brmrs/features/precision.py)
Precision = Literal["auto", "fp32", "bf16"]
CutOffs = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class IngestConfig(Section):
    """From the dump to interactions, users and items."""

    # "amazon": raw dumps, told apart by content; "ready-made": the literature's layout,
    # taken as it is (see brmrs/ingest/ready_made/layout.py): the fields after `path` do not apply
    # to it
    format: str = "amazon"
    path: Location = None  # the folder of a benchmark
    reviews: Locations = ()  # review files, or folders of them
    metadata: Locations = ()  # metadata files, or folders of them; without any, items have no text
    k: int = Field(5, ge=0)  # k-core: every user and item keeps at least k interactions
    min_rating: float | None = None  # stars; None: every rating is a positive
    max_bad_share: Share = 0.01  # of all lines; beyond it the stage stops
    allow_truncated: bool = False  # of a compressed file that ends too early, use what is there


class SplitConfig(Section):
    """Which interactions train, validate and test."""

    # "given": the one that a benchmark brings along
    protocol: Literal["random", "leave-last-out", "time", "given"] = "random"
    # random: share of a user's interactions; time: share of all
    held_out: float = Field(0.2, gt=0, lt=1)
    seed: Seed = 0


Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


def _label_checked(section: SectionT, model: str, label: str, sha256: str) -> SectionT:
    """The section, unless its label would hide what made the vectors."""
    if label and model != IMPORTED:
        raise ValueError(f"label names {IMPORTED} vectors, not those of {model}; leave it out")
    if sha256 and not label:
        raise ValueError("label_sha256 says which vectors `label` names; set label, too")
    return section


class TextConfig(Section):
    """Text embeddings. Sources: sentence-transformers."""

    # a name of sentence-transformers, a folder, the packaged all-MiniLM-L6-v2, or "imported"; of
    # several, [a, b], the vectors stand side by side, each of unit length: cosines are their means
    model: str | Annotated[tuple[str, ...], Field(min_length=1)] = "all-MiniLM-L6-v2"
    # fields: title, brand, categories, description; a line whose fields are all empty is left out
    template: Annotated[str, AfterValidator(_checked_template)] = (
        "{title}\n{brand}\n{categories}\n{description}"
    )
    # of texts with more tokens than a model takes: "truncate": the first ones count; "mean": the
    # text is cut into pieces of as many as it takes, and the vector is the mean of the pieces'
    long_texts: Literal["truncate", "mean"] = "truncate"
    precision: Precision = "auto"
    batch_size: int = Field(16, gt=0)  # texts of 128 tokens; of shorter ones more fit a batch
    label: str = ""  # of imported vectors, in all tables and reports; "": that they are imported
    # the label names only the vectors with this digest, `weights_sha256` in meta.json; others are
    # called imported; "": it names whatever vectors there are
    label_sha256: Sha256 = ""

    @property
    def models(self) -> tuple[str, ...]:
        """The models, each once; none where the vectors are imported."""
        names = (self.model,) if isinstance(self.model, str) else self.model
        return tuple(name for name in dict.fromkeys(names) if name != IMPORTED)

    @model_validator(mode="after")
    def _imported_vectors_stand_alone(self) -> Self:
        if not isinstance(self.model, str) and IMPORTED in self.model:
            raise ValueError(f"{IMPORTED} vectors cannot stand beside those of a model")
        return _label_checked(self, str(self.model), self.label, self.label_sha256)


class SelfSupervisionConfig(Section):
    """Training of the backbone on the data set's own pictures, where no other weights are."""

    size: int = Field(96, gt=0, multiple_of=32)  # pixels, of the views and of what is embedded
    epochs: int = Field(100, gt=0)
    batch_size: int = Field(64, gt=1)  # pictures
    learning_rate: float = Field(0.03, gt=0)  # of SGD at the start; falls to 0 along a cosine


SELF_SUPERVISED = ("simsiam", "byol", "barlow-twins")


class VisualConfig(Section):
    """Image embeddings of a torchvision backbone, or of a sentence-transformers model."""

    # a model name of torchvision; a sentence-transformers model that takes pictures (CLIP), by its
    # folder or hub id, with a slash: ./clip, sentence-transformers/clip-ViT-B-32; or "imported"
    backbone: str = "vgg16"
    layer: str | None = None  # whose output is the features; None: the usual one of the backbone
    # "pretrained" (torchvision's own), "random" (tests and the sample only), or a method
    # that trains them on the data set's own pictures (brmrs/features/self_supervised)
    weights: Literal["pretrained", "random", "simsiam", "byol", "barlow-twins"] = "pretrained"
    weights_path: Location = None  # a state dict, .safetensors or .pth, instead of those
    precision: Precision = "auto"  # random weights take fp32: their vectors differ by little
    # also the feature map before its last pooling, for models that attend to regions (VECF)
    regions: bool = False
    batch_size: int = Field(16, gt=0)  # images
    seed: Seed = 0  # of random weights, and of the training
    training: SelfSupervisionConfig = SelfSupervisionConfig()
    label: str = ""  # as for texts
    label_sha256: Sha256 = ""  # as for texts

    @property
    def is_tower(self) -> bool:
        """Whether the backbone is a sentence-transformers model."""
        return "/" in self.backbone

    @model_validator(mode="after")
    def _suits_the_backbone(self) -> Self:
        own = self.weights == "pretrained" and self.weights_path is None and self.layer is None
        if self.is_tower and not own:
            raise ValueError(
                f"{self.backbone} has its own weights and layer; set weights=pretrained, "
                "weights_path=null and layer=null"
            )
        if self.weights_path is not None and self.weights != "pretrained":
            raise ValueError(
                f"weights_path and weights={self.weights} exclude each other; leave one out"
            )
        if self.regions and (self.is_tower or self.backbone == IMPORTED):
            raise ValueError(
                f"regions are of a feature map, and {self.backbone} gives none; name a "
                "convolutional backbone of torchvision, such as vgg16"
            )
        return _label_checked(self, self.backbone, self.label, self.label_sha256)


Imputation = Literal["zeros", "mean", "neighbours"]


class FeaturesConfig(BaseModel):
    """Text and visual features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # what stands for the vector of an item without the modality (brmrs/training/imputation.py)
    imputation: Imputation = "zeros"

    text: TextConfig = TextConfig()
    visual: VisualConfig = VisualConfig()


class ImagesConfig(Section):
    """Where pictures come from. A file of the folder wins over an address."""

    folder: Location = None  # files named ID.jpg or ID_0.jpg, also in sub-folders
    fetch: bool = True  # from the items' addresses, where the folder has no picture of an item
    full_size: bool = False  # of a thumbnail (NAME._SS40_.jpg) try the full size (NAME.jpg) first
    allow_private: bool = False  # addresses in private, loopback or link-local ranges
    concurrency: Effort = 16  # requests at once
    per_host: Effort = 4  # requests at once to one host
    rate: Annotated[float, Field(gt=0), KEYLESS] = 50.0  # requests a second, to all hosts together
    timeout: float = Field(20.0, gt=0)  # seconds for one try at a picture, its redirects included
    retries: int = Field(2, ge=0)  # after the first try, where the fault may pass
    # seconds that a run waits for hosts that ask for patience, in all; then it gives them up
    max_wait: Annotated[float, Field(ge=0), KEYLESS] = 600.0
    max_bytes: int = Field(20_000_000, gt=0)
    max_pixels: int = Field(50_000_000, gt=0)


class BetaConfig(Section):
    """Weights of the cosines of each modality in the graphs."""

    text: Weight = 0.5
    visual: Weight = 0.5


class GraphsConfig(Section):
    """Item and user homogeneous graphs (method/000, 'homogeneous graph construction')."""

    alpha: Share = 0.5  # weight of the interaction overlap; 1 - alpha goes to the modalities
    beta: BetaConfig = BetaConfig()
    # where the cosines of items come from: their vectors, or the kNN tables of a benchmark, which
    # know no others (0) and say nothing of users, whose graph then takes the overlap alone
    modality: Literal["features", "knn"] = "features"
    co_occurrence: Literal["cosine", "jaccard", "count"] = "cosine"
    k: int = Field(10, gt=0)  # edges kept per row
    user_k: int = Field(10, gt=0)
    block_bytes: Effort = 2**30  # about what a block of similarities may take


class TrainConfig(Section):
    """Optimisation and model selection (on validation alone)."""

    epochs: int = Field(1000, gt=0)  # at most
    patience: int = Field(50, gt=0)  # epochs without a better validation metric
    selection: str = Field("recall@20", pattern=SELECTION)
    validate_every: int = Field(1, gt=0)  # epochs; more where ranking takes longer than training
    batch_size: int = Field(2048, gt=0)  # interactions
    learning_rate: float = Field(1e-3, gt=0)  # the largest one, where a schedule changes it
    # "cosine" falls to 0 at the end of `epochs`: set them to what training takes, not far beyond
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = Field(0, ge=0)  # epochs in which the learning rate rises from 0, step by step
    clip_norm: float | None = Field(None, gt=0)  # largest L2 norm of the whole gradient
    # decay per step of the average of the weights that is validated and kept instead of them;
    # 0.99 averages over about the last 100 steps
    average: Rate | None = None
    precision: Literal["fp32", "bf16"] = "fp32"  # of dense products (brmrs/training/optimiser.py)
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # the folder of a bundle to start from: users and items it knows take its rows, by their own ids
    warm_start: Location = None


class EvaluateConfig(Section):
    """All-ranking evaluation; the training items of a user are masked."""

    k: CutOffs = (5, 10, 20)


class PublishConfig(Section):
    """Recommendations for every user."""

    k: int = Field(20, gt=0)  # per user


class ReportConfig(Section):
    """The HTML report."""

    users: int = Field(5, ge=0)  # shown with their history and recommendations


class RetrainConfig(Section):
    """When `brmrs retrain` trains on new dumps, and when the new model replaces the served one."""

    # of each folder in ingest.reviews and ingest.metadata: "add" reads all dumps, "replace" the one
    # changed last
    dumps: Literal["add", "replace"] = "add"
    at_rest: float = Field(3.0, ge=0)  # seconds that a complete file has not changed for
    timeout: float = Field(600.0, ge=0)  # seconds to wait for a file that is named
    warm_start: bool = False  # start training from the served model, where it is of one kind
    metric: str = Field("recall@20", pattern=SELECTION)  # on the validation split
    margin: Weight = 0.005  # in the metric's unit; shown worse by more: not promoted
    confidence: float = Field(0.95, gt=0.5, lt=1)  # of "shown"
    seed: Seed = 0  # of the bootstrap


class PipelineConfig(BaseModel):
    """The whole pipeline. Missing sections take their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Python files that register extensions, such as models (docs/extending.md)
    plugins: Locations = ()
    name: str = Field("dataset", pattern=r"^[\w.-]+$")  # of the data set, in titles and run names
    note: str = ""  # stands beside every number, such as "synthetic data"
    ingest: IngestConfig = IngestConfig()
    split: SplitConfig = SplitConfig()
    features: FeaturesConfig = FeaturesConfig()
    images: ImagesConfig = ImagesConfig()
    graphs: GraphsConfig = GraphsConfig()
    model: ModelConfig = Field(default_factory=lambda: configure(DEFAULT))
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    publish: PublishConfig = PublishConfig()
    report: ReportConfig = ReportConfig()
    retrain: RetrainConfig = RetrainConfig()
    # what a run does while another one uses the same artifacts
    concurrency: Literal["wait", "refuse"] = "wait"

    def section(self, path: str) -> Any:
        """The section (or value) at a dotted path such as `features.text`."""
        value: Any = self
        for part in path.split("."):
            value = getattr(value, part)
        return value

    def only(self, paths: tuple[str, ...]) -> Self:
        """The same configuration with every section but these at its defaults.

        A stage gets this: what it did not declare cannot reach it.
        """
        values: dict[str, Any] = {"plugins": self.plugins}
        for path in paths:
            put(values, path, self.section(path))
        return type(self).model_validate(values)

    def overlaid(self, sections: dict[str, Any]) -> Self:
        """This configuration with the fields that the given sections set explicitly.

        `features` is laid over part by part; a model of another name replaces the model.
        """
        laid = {name: _laid(getattr(self, name), given) for name, given in sections.items()}
        return self.model_copy(update=laid)

    def to_yaml(self) -> str:
        """YAML that `brmrs.config.load.load` reads back to an equal configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _laid(base: Any, given: Any) -> Any:
    """`base` with the fields that `given` sets, if both are sections of one kind; else `given`."""
    if not isinstance(given, BaseModel) or type(base) is not type(given):
        return given
    names = given.model_fields_set
    return base.model_copy(
        update={name: _laid(getattr(base, name), getattr(given, name)) for name in names}
    )


def put(values: dict[str, Any], path: str, value: object) -> None:
    """Set the value at a dotted path, making the sections on the way."""
    *sections, field = path.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if isinstance(inner, str) and section == "model":  # `model: lightgcn`
            inner = values[section] = {"name": inner}
        if not isinstance(inner, dict):
            raise TypeError(f"{section} is a value, not a section")
        values = inner
    values[field] = value
