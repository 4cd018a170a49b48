"""The stages of the pipeline: what each reads, which configuration shapes it, which code runs it.

Declared once. The flow, `brmrs plan`, the cache keys and the table in the docs follow from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from brmrs.columns import TEXT, VISUAL
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError

_IMPORTING = Lock()


@dataclass(frozen=True)
class StageContext:
    """Everything that a stage's `run(context)` may read and write.

    Attributes:
        config: the declared sections; every other section has its default values.
        inputs: paths of the declared inputs, by declared name ("ingest/items.parquet"). An input
            that names a whole stage ("images") is the folder of that artifact.
        out: an empty folder for the artifact. Its bytes must depend only on `config`, `inputs`
            and the stage's code: sort rows, write no times and no absolute paths.
        scratch: a folder for checkpoints and partial work, one per cache key. It survives a kill
            and is removed when a complete artifact has been stored.
        stage_cache: a folder shared by all keys of the stage, for results that another key may
            reuse. It must not change the output. Garbage collection keeps a file
            `<folder>/<name>` if a reachable record lists it in `notes[STAGE_CACHE]`, or if its name
            after the first dot is the name of a file of a reachable artifact. None: no cache.
        notes: facts about the work as JSON values, such as counts. They are stored in the record,
            not in the artifact, so they may depend on what was cached.
    """

    config: PipelineConfig
    inputs: Mapping[str, Path]
    out: Path
    scratch: Path
    stage_cache: Path | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: also the artifact's name.
        module: holds `run(context)`; its imports within the project are the stage's code.
        config: dotted paths of the configuration sections that shape the output.
        reads: artifact files ("ingest/items.parquet"), folders of an artifact, which may be absent
            ("ingest/given/text/"), or whole artifacts ("images"). Only the files named enter the
            key, so a change in another file of that artifact reruns nothing.
        external: entries of the fingerprint that the stage reads (digests of bytes from outside).
        libraries: distributions whose version shapes the bytes written, beside those that the
            stage's code imports, which count by themselves.
    """

    name: str
    module: str
    config: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    @property
    def upstream(self) -> tuple[str, ...]:
        """Names of the stages it reads from, in order, each once."""
        return tuple(dict.fromkeys(read.partition("/")[0] for read in self.reads))

    def load(self) -> Callable[[StageContext], None]:
        """The stage's function. Imported late: a cached stage never loads torch.

        One import at a time: torchvision's modules import each other, and where two stages' threads
        do it at once, one of them finds a half-made module.
        """
        with _IMPORTING:
            function: Callable[[StageContext], None] = import_module(self.module).run
        return function


STAGE_CACHE = "stage_cache"  # key of `StageContext.notes`: files of the stage cache in use

# A stage writes this file into an artifact that lacks something a later run may get, such as a
# picture whose server did not answer: {reason: count}. Only the run that made the artifact uses it.
INCOMPLETE = "incomplete.json"

INTERACTIONS = "ingest/interactions.parquet"
USERS = "ingest/users.parquet"
ITEMS = "ingest/items.parquet"
STATISTICS = "ingest/statistics.json"
# What a ready-made benchmark brings along (see brmrs/ingest/ready_made/layout.py); absent for raw
# dumps.
GIVEN_SPLIT = "ingest/given/split/"
GIVEN = {TEXT: "ingest/given/text/", VISUAL: "ingest/given/visual/"}
GIVEN_LABELS, GIVEN_VECTORS, GIVEN_KNN = "labels.parquet", "features.npy", "knn.parquet"
SPLIT = "split/interactions.parquet"
FEATURE_TABLES = {name: f"{name}_features/features.parquet" for name in (TEXT, VISUAL)}

STAGES = (
    Stage(
        "ingest",
        "brmrs.ingest.stage",
        config=("ingest",),
        external=("reviews", "metadata", "path"),
    ),
    Stage(
        "split",
        "brmrs.split.stage",
        config=("split",),
        reads=(INTERACTIONS, GIVEN_SPLIT),
    ),
    Stage(
        "text_features",
        "brmrs.features.text.stage",
        config=("features.text",),
        reads=(ITEMS, GIVEN[TEXT]),
        external=("text_model",),
        libraries=("tokenizers",),
    ),
    Stage(
        "images",
        "brmrs.images.stage",
        config=("images",),
        reads=(ITEMS,),
        external=("image_folder",),
    ),
    Stage(
        "visual_training",
        "brmrs.features.self_supervised.stage",
        config=tuple(
            f"features.visual.{field}"
            for field in ("backbone", "layer", "weights", "seed", "training")
        ),
        reads=("images",),
    ),
    Stage(
        "visual_features",
        "brmrs.features.visual.stage",
        config=("features.visual",),
        reads=("images", "visual_training", GIVEN[VISUAL]),
        external=("visual_weights",),
    ),
    Stage(
        "graphs",
        "brmrs.graphs.stage",
        config=("graphs",),
        reads=(SPLIT, *FEATURE_TABLES.values(), *GIVEN.values()),
    ),
    Stage(
        "train",
        "brmrs.training.stage",
        config=("model", "train", "features.imputation"),
        reads=(SPLIT, USERS, ITEMS, "text_features", "visual_features", "graphs"),
        external=("warm_start",),
    ),
    Stage(
        "evaluate",
        "brmrs.evaluation.stage",
        config=("evaluate",),
        reads=(SPLIT, "train", *FEATURE_TABLES.values()),
    ),
    Stage(
        "publish",
        "brmrs.serving.publish",
        config=("publish",),
        reads=("train",),
    ),
    Stage(
        "report",
        "brmrs.report.stage",
        config=("report", "name", "note"),
        reads=(
            STATISTICS,
            USERS,
            ITEMS,
            SPLIT,
            "text_features/meta.json",
            "images",
            "visual_features/meta.json",
            "graphs/statistics.json",
            "train",
            "evaluate",
            "publish",
        ),
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}


def needed(until: str | None = None) -> tuple[Stage, ...]:
    """The stages to run, in order: all, or `until` and what it reads from, directly or not.

    Raises:
        UserError: there is no such stage.
    """
    if until is None:
        return STAGES
    if until not in BY_NAME:
        raise UserError(f"no stage {until!r}; the stages are {', '.join(BY_NAME)}")
    names = {until}
    for stage in reversed(STAGES):  # declared in order: a stage reads only from earlier ones
        if stage.name in names:
            names.update(stage.upstream)
    return tuple(stage for stage in STAGES if stage.name in names)


def externals(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """The entries of the fingerprint that these stages read, each once."""
    return tuple(dict.fromkeys(name for stage in stages for name in stage.external))
