import inspect
import re
from pathlib import Path

import pytest
from toy_dump import dump
from toy_stage import INCOMPLETE_SEED

from brmrs.config.data import SplitConfig
from brmrs.config.models import names as model_names
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.models import spectral
from brmrs.models.registry import load
from brmrs.stages import BY_NAME, STAGES, Stage, externals, needed, refuse_unread
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.keys import fixed_parts
from brmrs.store.plan import Step, _changes, plan
from brmrs.store.runs import Run, save
from brmrs.system import code

TOY = Stage("toy", "toy_stage", config=("split",), external=("reviews",), libraries=("pyarrow",))
DOWN = Stage("down", "toy_stage", config=("train",), reads=("toy/result.txt",))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """A store in which both stages have run once."""
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    store = ArtifactStore(tmp_path / "artifacts")
    config, prints = dump(tmp_path)
    toy = execute(TOY, config, prints, {}, store, "r").artifact
    execute(DOWN, config, prints, {"toy": toy}, store, "r")
    return store


def steps(
    store: ArtifactStore, config: PipelineConfig | None = None, text: str = "a review"
) -> list[Step]:
    _, prints = dump(store.root.parent, text)
    return plan((TOY, DOWN), config or PipelineConfig(), prints, store)


def test_nothing_changed(store: ArtifactStore) -> None:
    assert [step.state for step in steps(store)] == ["cached", "cached"]


def test_nothing_ran(tmp_path: Path) -> None:
    both = steps(ArtifactStore(tmp_path / "artifacts"))
    assert [(step.state, step.reasons) for step in both] == [
        ("runs", ("never ran",)),
        ("runs", ("never ran",)),
    ]


def test_a_changed_field_is_named_with_its_values(store: ArtifactStore) -> None:
    toy, down = steps(store, PipelineConfig(split=SplitConfig(seed=7)))
    assert (toy.state, toy.reasons) == ("runs", ("configuration split.seed 0 -> 7",))
    assert (down.state, down.reasons) == ("waits", ("waits for toy",))


def test_an_incomplete_artifact_is_tried_again(store: ArtifactStore) -> None:
    config, prints = dump(store.root.parent, seed=INCOMPLETE_SEED)
    execute(TOY, config, prints, {}, store, "r")
    (step,) = plan((TOY,), config, prints, store)
    assert (step.state, step.reasons) == (
        "runs",
        ("incomplete: it tries again what it could not get",),
    )


def test_a_stage_behind_a_stale_one_that_changed_itself(store: ArtifactStore) -> None:
    config = PipelineConfig.model_validate({"split": {"seed": 7}, "train": {"learning_rate": 0.5}})
    _, down = steps(store, config)
    assert down.state == "runs"
    assert down.reasons == ("configuration train.learning_rate 0.001 -> 0.5", "waits for toy")


def test_changed_bytes_from_outside(store: ArtifactStore) -> None:
    old, new = (
        dump(store.root.parent, text)[1]["reviews"]["sha256"][:6]
        for text in ("a review", "another")
    )
    toy, _ = steps(store, text="another")
    assert toy.reasons == (f"input reviews changed ({old} -> {new})",)


def test_a_missing_and_a_damaged_artifact(store: ArtifactStore) -> None:
    (record,) = store.records("toy")
    file = store.path(record.artifact, "toy/result.txt")
    file.write_text("other")
    assert steps(store)[0].reasons == ("artifact damaged",)
    store.path(record.artifact).rename(store.root / "away")
    assert steps(store)[0].reasons == ("artifact missing",)


def test_changed_code_and_libraries_are_named(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "digest", lambda module: "other")
    monkeypatch.setattr(code, "library_version", lambda name: "99")
    (record,) = store.records("toy")
    old = record.parts["libraries"]["pyarrow"]
    toy, _ = steps(store)
    assert toy.reasons == ("code toy_stage.py", f"libraries pyarrow {old} -> 99")


def test_planning_writes_no_artifact_and_no_record(store: ArtifactStore) -> None:
    def files() -> list[Path]:
        return sorted(path for path in store.root.rglob("*") if "locks" not in path.parts)

    before = files()
    steps(store, PipelineConfig(split=SplitConfig(seed=7)))
    assert files() == before


def test_stages_read_only_from_earlier_ones_and_only_what_exists() -> None:
    seen: set[str] = set()
    for stage in STAGES:
        assert set(stage.upstream) <= seen, stage.name
        for path in stage.config:
            PipelineConfig().section(path)
        seen.add(stage.name)


def test_until_takes_what_the_stage_reads_from() -> None:
    config = PipelineConfig()
    assert [stage.name for stage in needed(config, "split")] == ["ingest", "split"]
    assert [stage.name for stage in needed(config, "visual_features")] == [
        "ingest",
        "images",
        "visual_training",
        "visual_features",
    ]
    assert needed(config) == STAGES
    assert needed(config, "report") == STAGES
    assert set(BY_NAME) == {stage.name for stage in STAGES}
    assert [stage.name for stage in needed(config, "split,images")] == ["ingest", "split", "images"]
    with pytest.raises(UserError, match=r"no stage 'image'; did you mean images\?"):
        needed(config, "split,image")


INTERACTIONS = ["ingest", "split", "train", "evaluate", "diagnosis", "publish", "report"]


def of(model: str, **features: str) -> PipelineConfig:
    return PipelineConfig.model_validate({"model": model, "features": features})


def test_stages_that_the_model_does_not_read_are_left_out() -> None:
    """Fault D5: a model that needs interactions only embedded everything and needed VGG16."""
    stages = {stage.name: stage for stage in needed(of("bpr-mf"))}
    assert list(stages) == INTERACTIONS
    assert all(set(stage.upstream) <= stages.keys() for stage in stages.values())
    assert not {"text_model", "visual_weights", "image_folder"} & set(
        externals(tuple(stages.values()))
    )
    assert [stage.name for stage in needed(of("bpr-mf"), "images")] == ["ingest", "images"]
    all_but_graphs = [stage.name for stage in STAGES if stage.name != "graphs"]
    assert [stage.name for stage in needed(of("bm3"))] == all_but_graphs
    assert needed(of("bm3", imputation="neighbours")) == STAGES
    assert needed(of("freedom")) == needed(of("br-mrs")) == STAGES


def test_what_a_run_leaves_out_cannot_be_refreshed() -> None:
    config = of("bpr-mf")
    refuse_unread(["train"], needed(config), config)
    with pytest.raises(UserError, match=r"--refresh images: .* model bpr-mf leaves it out"):
        refuse_unread(["images"], needed(config), config)


@pytest.mark.parametrize("name", model_names())
def test_models_declare_what_they_read(name: str) -> None:
    """A part of the data that the class mentions is in `needs` or `uses`, and the reverse."""
    model = load(name)
    module = inspect.getmodule(model)
    assert module is not None
    # SpectralChannels gets all data of the class that uses it.
    modules = [module, *([spectral] if hasattr(module, "SpectralChannels") else [])]
    source = "".join(map(inspect.getsource, modules))
    parts = ("features", "item_graph", "user_graph", "modality_graphs")
    mentioned = {part for part in parts if re.search(rf"data\.{part}\b", source)}
    assert mentioned == {*model.needs, *model.uses}


def test_another_model_is_one_reason() -> None:
    """Its settings and modules are not listed; whatever else differs is."""
    train = next(stage for stage in STAGES if stage.name == "train")
    one, other = (
        PipelineConfig.model_validate({"model": {"name": name}, "train": {"seed": seed}})
        for seed, name in enumerate(("br-mrs", "bm3"))
    )
    found = _changes(fixed_parts(train, one), fixed_parts(train, other))
    assert found == ["configuration model.name br-mrs -> bm3", "configuration train.seed 0 -> 1"]


def test_another_setting_of_the_same_model_is_listed() -> None:
    train = next(stage for stage in STAGES if stage.name == "train")
    one, other = (
        PipelineConfig.model_validate({"model": {"name": "br-mrs", "layers": layers}})
        for layers in (2, 3)
    )
    found = _changes(fixed_parts(train, one), fixed_parts(train, other))
    assert found == ["configuration model.layers 2 -> 3"]


def test_the_reasons_compare_with_the_last_run_of_this_data_set(store: ArtifactStore) -> None:
    """Not with the record that differs least, which another data set left."""
    config, prints = dump(store.root.parent)
    own, foreign = (config.model_copy(update={"name": name}) for name in ("own", "foreign"))
    for number, (settings, seed) in enumerate([(own, 1), (foreign, 2)]):
        changed = settings.model_copy(update={"split": SplitConfig(seed=seed)})
        record = execute(TOY, changed, prints, {}, store, f"r{number}")
        values = changed.model_dump(mode="json")
        save(Run(f"r{number}", values, prints, {"toy": record}, 1.0, {}), store)
    (step,) = plan((TOY,), own.model_copy(update={"split": SplitConfig(seed=3)}), prints, store)
    assert step.reasons == ("configuration split.seed 1 -> 3",)
