"""Sections about graphs, training, evaluation, publication, report and retraining."""

from typing import Literal, Self

from pydantic import Field, model_validator

from brmrs.config.section import (
    CutOffs,
    Effort,
    Location,
    Metric,
    Rate,
    Section,
    Seed,
    Share,
    Sizes,
    Weight,
)
from brmrs.config.without_effect import refuse


class BetaConfig(Section):
    """Weights of the modalities' cosines in the graphs. Only their ratio counts."""

    text: Weight = 0.5
    """Weight of the text cosine."""
    visual: Weight = 0.5
    """Weight of the visual cosine."""


LEAST_RECALL = 0.95  # of the exact neighbours: what an approximate search aims at


class GraphsConfig(Section):
    """Homogeneous graphs of items and of users: edges to the most similar ones."""

    alpha: Share = 0.5
    """Weight of the co-occurrence in the similarity; 1 - alpha is that of the modalities."""
    beta: BetaConfig = BetaConfig()
    """Weights of the modalities."""
    modality: Literal["features", "knn"] = "features"
    """Cosines of items. `features`: of their vectors. `knn`: those in the kNN tables of a
    ready-made data set; other pairs have 0, and the user graph uses only the co-occurrence."""
    co_occurrence: Literal["cosine", "jaccard", "count"] = "cosine"
    """Similarity of two users' item sets, or two items' user sets. `count`: the size of the
    intersection, over the largest degree."""
    neighbours: Literal["exact", "approximate"] = "exact"
    """Search by the vectors. `approximate`: faiss's IVF, for millions of nodes (docs/scale.md); the
    share of the exact neighbours that it found is measured. Needs the extra `serve`."""
    k: int = Field(10, gt=0)
    """Edges kept per item."""
    user_k: int = Field(10, gt=0)
    """Edges kept per user."""
    block_bytes: Effort = 2**30
    """Approximate memory for a block of similarities, in bytes."""

    @model_validator(mode="after")
    def _every_field_has_an_effect(self) -> Self:
        if self.alpha == 1:
            refuse(self, ("beta",), "alpha is 1, so the modalities have no weight")
        if self.modality == "knn":
            refuse(self, ("neighbours",), "modality is knn, so no vectors are searched")
        if self.alpha == 0:
            refuse(self, ("co_occurrence",), "alpha is 0, so the co-occurrence has no weight")
        return self


class TrainConfig(Section):
    """Optimisation and model selection, which uses only the validation split."""

    epochs: int = Field(1000, gt=0)
    """Largest number of epochs."""
    patience: int = Field(50, gt=0)
    """Epochs without a better validation metric after which training stops."""
    selection: str = "recall@20"
    """Validation metric that selects the epoch: METRIC@K."""
    validate_every: int = Field(1, gt=0)
    """Epochs between validations; raise it if ranking takes longer than training."""
    batch_size: int = Field(2048, gt=0)
    """Interactions per step."""
    draw: Literal["interactions", "users"] = "interactions"
    """Training pairs of an epoch. `interactions`: each once, in random order. `users`: as many
    pairs, but each of a user drawn uniformly and one of the user's items, so that all users have
    the same weight, as in the metrics."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam; the largest one if it changes."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over time. `cosine`: it falls to 0 at the end of `epochs`, so set `epochs` to
    the number that training needs."""
    warmup: int = Field(0, ge=0)
    """Epochs in which the learning rate rises from 0."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest L2 norm of the whole gradient; null: unlimited."""
    average: Rate | None = None
    """Decay per step of a moving average of the weights. The average is validated and saved
    instead. 0.99 averages over about 100 steps. null: no average."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the dense products of the loss."""
    seed: Seed = 0
    """Seed of initial weights, batches and samples."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA if there is a device, else the CPU."""
    sampled_neighbours: Sizes | None = None
    """Neighbours that a training step draws per node, by layer from the batch's users and items on;
    further layers use the last number. The cost of a step then follows the batch, not the graph
    (docs/scale.md). null: a step uses the whole graph. Validation always does."""
    processes: Effort = 1
    """Processes that train together, each d / `processes` columns of every embedding
    (docs/how-to.md): on this machine, or with `execution.engine: ray` on those of a cluster. Like
    the number of threads, it may change the last bits of the weights. On CUDA, each takes a device
    of its own."""
    warm_start: Location = None
    """Folder of a model bundle to start from: users and items it has keep their weights."""


class EvaluateConfig(Section):
    """Evaluation: every item is ranked for every user; the user's training items are left out. With
    the split `cold-items`, the items of a part are ranked among themselves.
    """

    k: CutOffs = (5, 10, 20)
    """Cut-offs of the metrics: recommended items that count."""


class DiagnosisConfig(Section):
    """Diagnosis of modality inconsistency, on the test split (docs/diagnosis.md)."""

    k: int = Field(20, gt=0, le=1000)
    """K: items that a branch recommends; an item among them is a hit."""
    top_share: float = Field(0.05, gt=0, lt=1)
    """Share of the items, by cosine to the held-out item, that count as confusable with it."""
    truth: Location = None
    """Folder `truth` of a sample dump: adds the recall and the sets by the planted type."""
    seed: Seed = 0
    """Seed of the drawn negatives and of the bootstrap."""


class PublishConfig(Section):
    """The table of recommendations for every user."""

    k: int = Field(20, gt=0)
    """Items per user."""


class ReportConfig(Section):
    """The HTML report."""

    users: int = Field(5, ge=0)
    """Users shown with their history and recommendations."""


class RetrainConfig(Section):
    """When `brmrs retrain` trains on new dumps, and when the new model is served."""

    dumps: Literal["add", "replace"] = "add"
    """Files of a folder in ingest.reviews or ingest.metadata. `add`: all are read. `replace`: only
    the file that changed last."""
    at_rest: float = Field(3.0, ge=0)
    """Seconds without a change after which a file counts as complete."""
    timeout: float = Field(600.0, ge=0)
    """Seconds to wait until a file that is named is complete."""
    warm_start: bool = False
    """Start training from the served model, if its `model` section is the same."""
    metric: Metric = "recall@20"
    """Metric on the validation split that compares the new model with the served one: METRIC@K."""
    margin: Weight = 0.015
    """Accepted decrease of the metric, in its unit. The new model is served only if the test shows
    a smaller decrease."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Confidence level of the comparison."""
    min_users: int = Field(100, gt=0)
    """Least number of users in the comparison; with fewer, the new model is not served."""
    min_known_share: Share = 0.9
    """Minimum share of the served model's users, and of its items, that the new model must have."""
    seed: Seed = 0
    """Seed of the bootstrap."""
