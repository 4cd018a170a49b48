"""Sections about text and visual features."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from brmrs.config import template
from brmrs.config.section import NAME_OR_PLACE, Location, Section, Seed
from brmrs.config.without_effect import refuse

IMPORTED = "imported"  # vectors of a ready-made data set, instead of a model's
SELF_SUPERVISED = ("simsiam", "byol", "barlow-twins")  # weights trained on the items' own pictures
Precision = Literal["auto", "fp32", "bf16"]
Imputation = Literal["zeros", "mean", "neighbours"]
Replacement = Literal["none", "permuted", "noise", "removed"]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


def _checked_template(value: str) -> str:
    """A template that `template.parse` accepts."""
    template.parse(value)
    return value


def _check_label(label: str, sha256: str) -> None:
    if sha256 and not label:
        raise ValueError(
            "label_sha256 is the digest of the vectors that `label` names; set label, too"
        )


class TextConfig(Section):
    """Text vectors of the items, by sentence-transformers models."""

    model: Annotated[str | Annotated[tuple[str, ...], Field(min_length=1)], NAME_OR_PLACE] = (
        "all-MiniLM-L6-v2"
    )
    """A sentence-transformers model: the packaged all-MiniLM-L6-v2, a folder, or a name on the hub.
    Of a list of models, the vectors are concatenated, each scaled to unit length. `imported`: the
    vectors of a ready-made data set."""
    template: Annotated[str, AfterValidator(_checked_template)] = (
        "{title}\n{brand}\n{categories}\n{description}"
    )
    """The text of an item: lines with the fields {title}, {brand}, {categories}, {description}. A
    line whose fields are all empty is left out."""
    long_texts: Literal["truncate", "mean"] = "truncate"
    """Texts with more tokens than the model takes. `truncate`: only the first tokens count. `mean`:
    the text is cut into pieces, and the vector is the mean of the pieces' vectors."""
    precision: Precision = "auto"
    """Arithmetic of the model. `auto`: bf16 if the processor has it and a trial shows equally good
    vectors, else fp32."""
    batch_size: int = Field(16, gt=0)
    """Texts per batch, for texts of 128 tokens; batches of shorter texts hold more."""
    label: str = ""
    """Name of imported vectors in tables and reports; empty: "imported"."""
    label_sha256: Sha256 = ""
    """Digest of the vectors that `label` names (`weights_sha256` in meta.json); others are called
    "imported". Empty: `label` applies to any vectors."""

    @model_validator(mode="after")
    def _imported_or_computed(self) -> Self:
        if self.model == IMPORTED:
            computed = ("template", "long_texts", "precision", "batch_size")
            refuse(self, computed, f"model={IMPORTED} computes no vectors")
            _check_label(self.label, self.label_sha256)
        elif IMPORTED in (self.model if not isinstance(self.model, str) else ()):
            raise ValueError(f"model: {IMPORTED} cannot be combined with models; name one of both")
        else:
            refuse(
                self,
                ("label", "label_sha256"),
                f"a label names {IMPORTED} vectors, and a model has its own name",
            )
        return self


class SelfSupervisionConfig(Section):
    """Training of the backbone on the items' own pictures, without labels."""

    size: int = Field(96, gt=0, multiple_of=32)
    """Side of the training views, and of the pictures when they are embedded, in pixels."""
    epochs: int = Field(100, gt=0)
    """Passes over the pictures."""
    batch_size: int = Field(64, gt=1)
    """Pictures per step."""
    learning_rate: float = Field(0.03, gt=0)
    """Initial learning rate of SGD; it falls to 0 along a cosine."""


class VisualConfig(Section):
    """Visual vectors of the items, by a convolutional network or a sentence-transformers model."""

    backbone: Annotated[str, NAME_OR_PLACE] = "efficientnet-lite0"
    """`efficientnet-lite0`, whose ImageNet weights are installed with brmrs; a torchvision model
    such as vgg16; a sentence-transformers model for pictures (CLIP), named with a slash: ./folder
    or organisation/name; or `imported`: the vectors of a ready-made data set."""
    layer: str | None = None
    """Module of the network whose output is the vector; null: the usual one."""
    weights: Literal["pretrained", "random", "simsiam", "byol", "barlow-twins"] = "pretrained"
    """`pretrained`: the published ones, installed with brmrs (efficientnet-lite0) or downloaded by
    torchvision. `random`: for tests. The others train on the items' own pictures by that method."""
    weights_path: Location = None
    """File with the weights (a state dict, .safetensors or .pth), instead of the published ones."""
    fit: Literal["crop", "pad"] = "crop"
    """How a picture becomes a square. `crop`: a square from its middle, as when the published
    weights were trained. `pad`: with white margins, so that less of its longer side is cut off."""
    precision: Precision = "auto"
    """Arithmetic of the backbone, as for texts; random weights always take fp32."""
    regions: bool = False
    """Also store the feature map before the last pooling, for models that attend to regions
    (VECF)."""
    batch_size: int = Field(16, gt=0)
    """Pictures per batch."""
    seed: Seed = 0
    """Seed of random weights, and of the training by simsiam, byol or barlow-twins."""
    training: SelfSupervisionConfig = SelfSupervisionConfig()
    """The training by simsiam, byol or barlow-twins."""
    label: str = ""
    """Name of imported vectors in tables and reports; empty: "imported"."""
    label_sha256: Sha256 = ""
    """Digest of the vectors that `label` names, as for texts."""

    @model_validator(mode="after")
    def _suits_the_backbone(self) -> Self:
        tower = "/" in self.backbone
        own = self.weights == "pretrained" and self.weights_path is None and self.layer is None
        if tower and not own:
            raise ValueError(
                f"{self.backbone} has its own weights and layer; set weights=pretrained, "
                "weights_path=null and layer=null"
            )
        if self.regions and (tower or self.backbone == IMPORTED):
            raise ValueError(
                f"regions are of a feature map, and {self.backbone} gives none; name a "
                "convolutional backbone, such as efficientnet-lite0 or vgg16"
            )
        return self

    @model_validator(mode="after")
    def _every_field_has_an_effect(self) -> Self:
        if self.backbone == IMPORTED:
            computed = set(type(self).model_fields) - {"backbone", "label", "label_sha256"}
            refuse(self, sorted(computed), f"backbone={IMPORTED} computes no vectors")
            _check_label(self.label, self.label_sha256)
            return self
        refuse(
            self,
            ("label", "label_sha256"),
            f"a label names {IMPORTED} vectors, and a model has its own name",
        )
        if self.weights_path is not None and self.weights != "pretrained":
            raise ValueError(
                f"weights_path and weights={self.weights} exclude each other; leave one out"
            )
        if self.weights not in SELF_SUPERVISED:
            refuse(self, ("training",), f"weights={self.weights} needs no training")
        if self.weights == "pretrained":
            refuse(self, ("seed",), "weights=pretrained draws nothing at random")
        if self.weights == "random" and self.precision == "bf16":
            raise ValueError("precision=bf16 would have no effect: random weights take fp32")
        return self


class ReplaceConfig(Section):
    """Other features for the graphs and the recommender, to see whether they matter.

    `permuted`: each item gets the vector of another item. `noise`: random vectors of the same
    lengths. `removed`: none. `brmrs diagnose RUN --retrain` compares them.
    """

    text: Replacement = "none"
    """What takes the place of the text vectors."""
    visual: Replacement = "none"
    """What takes the place of the visual vectors."""
    seed: Seed = 0
    """Seed of the permutation and of the noise."""

    @model_validator(mode="after")
    def _every_field_has_an_effect(self) -> Self:
        if {self.text, self.visual} <= {"none", "removed"}:
            refuse(self, ("seed",), "nothing is drawn at random")
        return self


class FeaturesConfig(Section):
    """Vectors of the items from their texts and pictures."""

    imputation: Imputation = "zeros"
    """The vector of an item without the modality, for the recommender. `zeros`: none. `mean`: the
    mean of all items that have one. `neighbours`: the mean of its neighbours in the item graph."""
    replace: ReplaceConfig = ReplaceConfig()
    """An experiment: other vectors in place of these."""
    text: TextConfig = TextConfig()
    """Text vectors."""
    visual: VisualConfig = VisualConfig()
    """Visual vectors."""
