"""The stages of the pipeline: the inputs, configuration sections and code of each.

The flow, `brmrs plan`, the cache keys and the table in the docs are derived from this declaration.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from brmrs.columns import TEXT, VISUAL
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.extensions import Extension, known, missing
from brmrs.suggest import did_you_mean, nearest

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
            reuse. The output must not depend on it. Garbage collection keeps a file
            `<folder>/<name>` in two cases: a reachable record lists it in `notes[STAGE_CACHE]`, or
            its name after the first dot is that of a file in a reachable artifact. None: no cache.
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
        config: dotted paths of the configuration sections that the output depends on.
        reads: artifact files ("ingest/items.parquet"), folders of an artifact, which may be absent
            ("ingest/given/text/"), or whole artifacts ("images"). Only the files named enter the
            key, so a change in another file of that artifact reruns nothing.
        optional: those of `reads` that are dropped if the run leaves out the stage that writes
            them. The input is then missing from `StageContext.inputs`.
        external: entries of the fingerprint that the stage reads (digests of input files).
        libraries: further distributions whose version affects the output. Those that the stage's
            code imports are included automatically.
        extension: where the stage is a plug-in's: its registered function is `run`.
    """

    name: str
    module: str
    config: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    extension: Extension | None = None

    @property
    def upstream(self) -> tuple[str, ...]:
        """Names of the stages it reads from, in order, each once."""
        return tuple(dict.fromkeys(map(_writer, self.reads)))

    def without(self, stages: Set[str]) -> "Stage":
        """The same stage without its optional reads from these stages."""
        dropped = {read for read in self.optional if _writer(read) in stages}
        return replace(self, reads=tuple(read for read in self.reads if read not in dropped))

    def load(self) -> Callable[[StageContext], None]:
        """The stage's function. Imported late: a cached stage never loads torch.

        A lock allows one import at a time. torchvision's modules import each other, and with two
        threads at once, one of them finds a partly initialised module.
        """
        with _IMPORTING:
            if self.extension:
                plugin: Callable[[StageContext], None] = self.extension.load()
                return plugin
            function: Callable[[StageContext], None] = import_module(self.module).run
        return function


def _writer(read: str) -> str:
    """The stage that writes an input."""
    return read.partition("/")[0]


STAGE_CACHE = "stage_cache"  # key of `StageContext.notes`: files of the stage cache in use

# Marks an incomplete artifact: {reason: count} of parts that a later run may get, such as a picture
# whose server did not answer. Only the run that made the artifact uses it.
INCOMPLETE = "incomplete.json"

INTERACTIONS = "ingest/interactions.parquet"
USERS = "ingest/users.parquet"
ITEMS = "ingest/items.parquet"
STATISTICS = "ingest/statistics.json"
# Split, vectors and kNN tables that the data include (a ready-made data set, tables); each may be
# absent.
GIVEN_SPLIT = "ingest/given/split/"
GIVEN = {TEXT: "ingest/given/text/", VISUAL: "ingest/given/visual/"}
GIVEN_LABELS, GIVEN_VECTORS, GIVEN_KNN = "labels.parquet", "features.npy", "knn.parquet"
SPLIT = "split/interactions.parquet"
GRAPHS = "graphs/statistics.json"
FEATURE_TABLES = {name: f"{name}_features/features.parquet" for name in (TEXT, VISUAL)}
MODEL_INPUTS = ("text_features", "visual_features", "graphs")  # each model reads some or none

TABLES = ("interactions", "items", "users", "text_vectors", "visual_vectors")  # own data

STAGES = (
    Stage(
        "ingest",
        "brmrs.ingest.stage",
        config=("ingest",),
        external=("reviews", "metadata", "path", *TABLES),
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
        config=("features.text", "execution"),
        reads=(ITEMS, GIVEN[TEXT]),
        external=("text_model",),
        libraries=("tokenizers",),
    ),
    Stage(
        "images",
        "brmrs.images.stage",
        config=("images", "execution"),
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
        config=("features.visual", "execution"),
        reads=("images", "visual_training", GIVEN[VISUAL]),
        external=("visual_weights",),
    ),
    Stage(
        "graphs",
        "brmrs.graphs.stage",
        config=("graphs", "features.replace", "split.protocol"),
        reads=(SPLIT, *FEATURE_TABLES.values(), *GIVEN.values()),
    ),
    Stage(
        "train",
        "brmrs.training.stage",
        config=(
            "model",
            "train",
            "features.imputation",
            "features.replace",
            "split.protocol",
            "execution",
        ),
        reads=(SPLIT, USERS, ITEMS, *MODEL_INPUTS),
        optional=MODEL_INPUTS,
        external=("warm_start",),
    ),
    Stage(
        "evaluate",
        "brmrs.evaluation.stage",
        config=("evaluate", "split.protocol"),
        reads=(SPLIT, "train", *FEATURE_TABLES.values()),
        optional=tuple(FEATURE_TABLES.values()),
    ),
    Stage(
        "diagnosis",
        "brmrs.diagnosis.stage",
        config=("diagnosis", "split.protocol"),
        reads=(SPLIT, "train", *FEATURE_TABLES.values()),
        optional=tuple(FEATURE_TABLES.values()),
        external=("truth",),
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
        config=("report", "name", "note", "ingest.format", "ingest.min_rating", "split"),
        reads=(
            STATISTICS,
            USERS,
            ITEMS,
            SPLIT,
            "text_features/meta.json",
            "images",
            "visual_features/meta.json",
            GRAPHS,
            "train",
            "evaluate",
            "diagnosis",
            "publish",
        ),
        optional=("text_features/meta.json", "images", "visual_features/meta.json", GRAPHS),
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}
PLUGIN_FIELDS = ("reads", "config")  # options of a plug-in's stage


def of_plugins(plugins: tuple[Path, ...]) -> tuple[Stage, ...]:
    """The stages that plug-in files register, in order; they run after the project's own.

    `@register(name, kind="stage", reads=(...), config=(...))` in front of `run(context)` declares
    one; `reads` and `config` mean the same as in `Stage`.

    Raises:
        UserError: a declaration is wrong.
    """
    made: dict[str, Stage] = {}
    for name, extension in known("stage", plugins).items():
        where = f"{extension.file}, line {extension.line}"
        options = {field: tuple(extension.options.get(field, ())) for field in PLUGIN_FIELDS}
        if name in BY_NAME or not name.isidentifier():
            raise UserError(f"{where}: choose another name; {name!r} is taken or no identifier")
        if unknown := set(extension.options) - set(PLUGIN_FIELDS):
            raise UserError(f"{where}: no option {min(unknown)}; there are {PLUGIN_FIELDS}")
        stage = Stage(name, extension.module, **options, extension=extension)
        for upstream in stage.upstream:
            if upstream not in {**BY_NAME, **made}:
                raise UserError(f"{where}: {missing('stage', upstream, [*BY_NAME, *made])}")
        for path in stage.config:
            if path.partition(".")[0] not in PipelineConfig.model_fields:
                raise UserError(f"{where}: the configuration has no section {path}")
        made[name] = stage
    return tuple(made.values())


def of_model(config: PipelineConfig) -> tuple[Stage, ...]:
    """The stages of a configuration in order, without those whose output its model does not read.

    A model that needs interactions only leaves out texts, pictures and graphs.
    """
    train = BY_NAME["train"].without(_unread(config))
    place = STAGES.index(BY_NAME["train"])
    later = STAGES[place + 1 :]
    least = {stage.name: stage.without(BY_NAME.keys()) for stage in later}
    required = _closure([train.name, *least], {**BY_NAME, **least, train.name: train})
    left_out = BY_NAME.keys() - required
    earlier = (stage for stage in STAGES[:place] if stage.name in required)
    return (*earlier, train, *(stage.without(left_out) for stage in later))


def _unread(config: PipelineConfig) -> set[str]:
    """The stages of `MODEL_INPUTS` that the model does not read."""
    if config.model.residuals.reading_neighbours:  # of texts and pictures
        return set()
    options = config.model.extension.options
    parts = {*options.get("needs", ()), *options.get("uses", ())}
    unread = set(MODEL_INPUTS)
    if "features" in parts:
        unread -= {"text_features", "visual_features"}
        if config.features.imputation == "neighbours":  # taken from the item graph
            unread -= {"graphs"}
    if parts & {"item_graph", "user_graph", "modality_graphs"}:
        unread -= {"graphs"}
    return unread


def needed(config: PipelineConfig, until: str | None = None) -> tuple[Stage, ...]:
    """The stages to run, in order: those of the model and of plug-ins, or `until` and its inputs.

    Args:
        config: names the model.
        until: a stage, or several with commas between them; also one that the model does not read.

    Raises:
        UserError: there is no such stage.
    """
    chosen = (*of_model(config), *of_plugins(config.plugins))
    stages = BY_NAME | {stage.name: stage for stage in chosen}
    wanted = [stage.name for stage in chosen] if until is None else until.split(",")
    for name in wanted:
        if name not in stages:
            hint = did_you_mean(nearest(name, stages))
            raise UserError(f"no stage {name!r}{hint or '; the stages are ' + ', '.join(stages)}")
    names = _closure(wanted, stages)
    return tuple(stage for name, stage in stages.items() if name in names)


def refuse_unread(names: Iterable[str], stages: tuple[Stage, ...], config: PipelineConfig) -> None:
    """Check that the stages to refresh are part of the run.

    Raises:
        UserError: a name is no stage, or one that the model or `until` leaves out.
    """
    for name in names:
        needed(config, name)
        if name not in {stage.name for stage in stages}:
            raise UserError(
                f"--refresh {name}: the stage is not part of this run, as --until or model "
                f"{config.model.name} leaves it out"
            )


def _closure(names: Iterable[str], stages: Mapping[str, Stage]) -> set[str]:
    """These stages and all that they read from, directly or indirectly."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += stages[name].upstream
    return found


def externals(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """The entries of the fingerprint that these stages read, each once."""
    return tuple(dict.fromkeys(name for stage in stages for name in stage.external))
