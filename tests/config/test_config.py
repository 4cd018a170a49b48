import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from brmrs.config.features import TextConfig, VisualConfig
from brmrs.config.learning import BetaConfig, TrainConfig
from brmrs.config.load import load, parse
from brmrs.config.models import configure
from brmrs.config.models import names as model_names
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.experiments.compare import configured

ROOT = Path(__file__).parents[2]
TUNED = sorted((ROOT / "configs" / "tuned" / "baby").glob("*.yaml"))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_configuration_parses_and_starts_with_its_command(path: Path) -> None:
    assert isinstance(load(path), PipelineConfig)
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    starts = ("brmrs run -c", "brmrs retrain -c")
    assert any(path.name in line and any(start in line for start in starts) for line in head)


@pytest.mark.parametrize("name", model_names())
def test_every_recommender_has_a_file_that_suits_any_data(name: str) -> None:
    base, path = ROOT / "configs" / "sample.yaml", ROOT / "configs" / "models" / f"{name}.yaml"
    config = load(base, over=(path,))
    assert config.model == load(base, (f"model={name}",)).model  # defaults
    assert config.ingest == load(base).ingest
    assert set(yaml.safe_load(path.read_text())) <= {"model", "train"}
    assert f"brmrs run -c configs/sample.yaml -c configs/models/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", TUNED, ids=lambda path: path.stem)
def test_what_was_chosen_on_baby_is_taken_for_baby(path: Path) -> None:
    config, files = configured(ROOT / "configs" / "baby.yaml", (), path.stem)
    assert files[-1] == path
    assert config == load(ROOT / "configs" / "baby.yaml", over=(path,))
    assert config != load(ROOT / "configs" / "baby.yaml", (f"model={path.stem}",))
    assert f"-c configs/baby.yaml -c configs/tuned/baby/{path.name}" in path.read_text()


def test_a_later_file_wins_field_by_field(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml")]
    paths[0].write_text("name: a\nmodel: {name: lightgcn, layers: 4}\ntrain: {epochs: 7, seed: 1}")
    paths[1].write_text("model: {dim: 8}\ntrain: {seed: 2}")
    paths[2].write_text("model: bm3\ntrain: {seed: 3}")
    two = load(paths[0], over=(paths[1],))
    assert two.model == configure("lightgcn", layers=4, dim=8)
    assert (two.name, two.train.epochs, two.train.seed) == ("a", 7, 2)
    three = load(paths[0], ("train.seed=4",), over=(paths[1], paths[2]))
    assert three.model == configure("bm3")  # nothing of another model's fields
    assert (three.train.epochs, three.train.seed) == (7, 4)


def test_a_wrong_field_names_the_file_that_sets_it(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.yaml", "b.yaml")]
    paths[0].write_text("name: a")
    paths[1].write_text("train: {seed: -1}")
    with pytest.raises(UserError, match=r"b\.yaml: train\.seed = -1") as fault:
        load(paths[0], over=(paths[1],))
    assert "a.yaml" not in str(fault.value)
    paths[1].write_text("train: 3")
    with pytest.raises(UserError, match="train"):
        load(paths[0], over=(paths[1],))
    with pytest.raises(UserError, match=r"absent\.yaml: No such file"):
        load(paths[0], over=(tmp_path / "absent.yaml",))


def test_yaml_out_is_yaml_in() -> None:
    config = parse({"name": "x", "model": "bm3", "ingest": {"reviews": "a.gz"}}, "test")
    assert parse(yaml.safe_load(config.to_yaml()), "test") == config


def test_one_path_stands_for_a_list_of_one() -> None:
    assert parse({"ingest": {"reviews": "a"}}, "t") == parse({"ingest": {"reviews": ["a"]}}, "t")


def test_overrides_reach_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: lightgcn\ntrain: {epochs: 3}\n")
    config = load(path, ("train.learning_rate=0.5", "model.layers=2", "features.text.model=x"))
    assert config.train == TrainConfig(epochs=3, learning_rate=0.5)
    assert config.model.name == "lightgcn"
    assert config.section("model.layers") == 2
    assert config.features.text.model == "x"


def test_only_leaves_all_other_sections_at_their_defaults() -> None:
    config = parse({"train": {"seed": 3}, "split": {"seed": 4}}, "t")
    only = config.only(("train", "features.text"))
    assert only.train.seed == 3
    assert only.split == PipelineConfig().split


def test_locations_and_efforts_are_in_no_key() -> None:
    config = parse({"ingest": {"reviews": "a", "k": 3}, "images": {"folder": "b"}}, "t")
    assert not {"reviews", "metadata"} & set(config.ingest.key())
    assert config.ingest.key()["k"] == 3
    assert not {"folder", "concurrency", "per_host"} & set(config.images.key())
    assert not {"block_bytes"} & set(config.graphs.key())


def test_sections_set_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "train: {epochs: 7, learning_rate: 0.5}\nmodel: {name: bm3, dropout: 0.1}\n"
        "features: {visual: {backbone: resnet18, weights: random}}"
    )
    sections = {
        "train": {"seed": 9},
        "model": {"dim": 8},
        "features": {"text": {"batch_size": 4}},
    }
    config = load(path, sections=sections)
    assert config.train == TrainConfig(epochs=7, learning_rate=0.5, seed=9)
    assert config.model == configure("bm3", dim=8, dropout=0.1)
    assert config.features.visual == VisualConfig(backbone="resnet18", weights="random")
    assert config.features.text == TextConfig(batch_size=4)


def test_another_model_replaces_all_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: {name: lightgcn, layers: 1}")
    assert load(path, sections={"model": {"name": "bm3"}}).model == configure("bm3")
    assert load(path, sections={"model": "bm3"}).model == configure("bm3")


def test_without_a_file_the_defaults_are_the_base() -> None:
    assert load(None) == PipelineConfig()
    assert load(None, sections={"train": {"seed": 3}}).train == TrainConfig(seed=3)


def test_a_whole_configuration_laid_over_nothing_is_itself() -> None:
    config = parse({"graphs": {"beta": {"text": 1.0}}, "model": "bm3"}, "t")
    assert load(None, sections=config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1, 2]", "expected `section: values`, found list"),
        ("train: [", "not YAML"),
        ("trian: {}", "trian: no such field; did you mean train?"),
        (
            "train: {learning_rte: 1}",
            "train.learning_rte: no such field; did you mean learning_rate",
        ),
        ("learning_rate: 0.1", "learning_rate: no such field; did you mean train.learning_rate or"),
        ("learning_rte: 0.1", "learning_rte: no such field; did you mean train.learning_rate or"),
        ("epochs: 3", "did you mean train.epochs or features.visual.training.epochs?"),
        ("train: {protocol: time}", "train.protocol: no such field; did you mean split.protocol?"),
        ("train: {dim: 8}", "train.dim: no such field; did you mean model.dim?"),
        ("seed: 1", "did you mean train.seed, split.seed or retrain.seed?"),
        (
            "optimiser: {learning_rate: 0.1}",
            "optimiser: no such field; did you mean train.learning",
        ),
        ("model: {name: bm3, layer: 2}", "model.layer: no such field"),
        ("train: {learning_rate: 0}", "train.learning_rate = 0: must be greater than 0"),
        ("train: {learning_rate: .nan}", "train.learning_rate"),
        ("train: {epochs: 1.5}", "train.epochs"),
        ("train: {selection: mapp@5}", "train.selection = 'mapp@5': expected METRIC@K"),
        ("train: {selection: map@0}", "train.selection = 'map@0': expected METRIC@K"),
        ("retrain: {metric: recal@5}", "did you mean recall@5?"),
        ("model: nope", "no model 'nope'; there are bm3, bpr-mf, br-mrs, buir, "),
        ("model: lightgnc", "no model 'lightgnc'; did you mean lightgcn?"),
        ("ingest: {k: -1}", "ingest.k"),
        ("ingest: {max_bad_share: 2}", "ingest.max_bad_share"),
        ("name: ../x", "name = '../x': use only letters, digits, '_', '.' and '-'"),
        ("evaluate: {k: []}", "evaluate.k"),
        ("evaluate: {k: [0]}", "evaluate.k"),
        ("graphs: {beta: {sound: 1}}", "graphs.beta"),
        ("ingest: {memory: lots}", "ingest.memory = 'lots': must be a size, such as 8GB"),
        ("split: null", "split = null: must be a section: `field: value`"),
        ("features: {text: {model: 3}}", "features.text.model = 3: must be a valid string or "),
        ("evaluate: {k: [5, 0]}", "evaluate.k.1 = 0: must be greater than 0"),
        ("train: {seed: 1}\ntrain: {epochs: 2}", "line 2: 'train' occurs twice"),
        ("note: 2026-01-02", "2026-01-02' is a date; write a text in quotes"),
        ("1: 2", "the name '1' is no text"),
    ],
)
def test_bad_configuration_is_told_with_file_and_field(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as fault:
        load(path)
    assert str(path) in str(fault.value)
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("overlap=wait", "renamed to concurrency"),
        ("graphs.overlap=count", "renamed to graphs.co_occurrence"),
        ("features.text.long=mean", "renamed to features.text.long_texts"),
        ("features.visual.node=x", "renamed to features.visual.layer"),
        ("features.visual.file=x", "renamed to features.visual.weights_path"),
        ("features.visual.weights=file", "set only features.visual.weights_path"),
        ("ingest.format=benchmark", "renamed to ready-made"),
    ],
)
def test_an_old_name_is_answered_with_the_new_one(
    tmp_path: Path, override: str, expected: str
) -> None:
    path = tmp_path / "c.yaml"
    path.touch()
    with pytest.raises(UserError, match=re.escape(expected)) as fault:
        load(path, (override,))
    assert override in str(fault.value)


def test_weights_are_named_once(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("features: {visual: {weights: random, weights_path: a.pth}}")
    with pytest.raises(UserError, match="exclude each other"):
        load(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(UserError, match="not YAML"):
        load(path)


@pytest.mark.parametrize(
    "override", ["train", "=1", ".x=1", "train.=1", "train.x=[", "ingest.k.deep=1", "name.x=1"]
)
def test_bad_overrides_are_told(tmp_path: Path, override: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("ingest: {k: 5}\nname: n\n")
    with pytest.raises(UserError):
        load(path, (override,))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_no_value_of_a_section_escapes_as_another_error(value: object) -> None:
    for section in PipelineConfig.model_fields:
        try:
            parse({section: value}, "t")
        except UserError as fault:
            assert section in str(fault)


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("{title}", "{title}"),
        ("{title} {brand}", "{title} {brand}"),
        ('"{title}\\n{brand}"', "{title}\n{brand}"),
        ("{title}: {brand}", "{title}: {brand}"),
    ],
)
def test_a_template_may_be_set_without_quotes(tmp_path: Path, text: str, template: str) -> None:
    path = tmp_path / "c.yaml"
    path.touch()
    assert load(path, (f"features.text.template={text}",)).features.text.template == template


def test_one_weight_of_the_graphs_leaves_the_other(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("graphs: {beta: {visual: 0.7}}")
    config = load(path, ("graphs.beta.text=0.9",))
    assert config.graphs.beta == BetaConfig(text=0.9, visual=0.7)
    assert parse({"graphs": {"beta": {"text": 0.9}}}, "t").graphs.beta.visual == 0.5


def test_the_order_of_overrides_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.touch()
    one = load(path, ("model.dim=32", "model=bm3"))
    assert one == load(path, ("model=bm3", "model.dim=32"))
    assert one.model == configure("bm3", dim=32)
