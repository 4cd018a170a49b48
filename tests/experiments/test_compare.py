"""Which configuration a benchmark gives each recommender, and the arithmetic of its table."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brmrs.columns import METRICS, metric
from brmrs.config import conditions
from brmrs.config.data import IngestConfig, SplitConfig
from brmrs.config.models import configure
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.experiments.compare import configured, mean_and_deviation, tuned_file, variants
from flows.cli.tables_compare import benchmark

BASE = """
name: toys
model: {name: br-mrs, dim: 16}
train: {epochs: 7, batch_size: 64}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "toys.yaml"
    path.write_text(BASE)
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lightgcn(config: PipelineConfig) -> Any:
    assert config.model.name == "lightgcn"
    return config.model


def test_without_files_a_model_takes_its_defaults_and_the_base(base: Path) -> None:
    config, files = configured(base, (), "lightgcn")
    assert config.model == configure("lightgcn")
    assert (config.train.epochs, config.train.batch_size, files) == (7, 64, ())


def test_the_models_file_then_the_tuned_one_then_overrides(base: Path) -> None:
    own, tuned = base.parent / "models" / "lightgcn.yaml", tuned_file(base, "toys", "lightgcn")
    write(own, "model: {name: lightgcn, layers: 2, dim: 32}\ntrain: {batch_size: 128, epochs: 9}")
    write(tuned, "model: {name: lightgcn, layers: 4}\ntrain: {learning_rate: 0.01}")
    config, files = configured(base, ("train.epochs=2",), "lightgcn")
    assert (lightgcn(config).layers, lightgcn(config).dim) == (4, 32)
    train = config.train
    assert (train.epochs, train.batch_size, train.learning_rate) == (2, 128, 0.01)
    assert files == (own, tuned)


def test_later_files_win_over_the_models_own(base: Path) -> None:
    own, later = base.parent / "models" / "lightgcn.yaml", base.parent / "later.yaml"
    write(own, "model: {name: lightgcn, layers: 2, dim: 32}\ntrain: {batch_size: 128}")
    write(later, "model: {layers: 1}\ntrain: {batch_size: 32}\nsplit: {seed: 5}")
    config, files = configured(base, ("train.epochs=2",), "lightgcn", (later,))
    assert (lightgcn(config).layers, lightgcn(config).dim) == (1, 32)
    assert (config.train.batch_size, config.train.epochs, config.split.seed) == (32, 2, 5)
    assert files == (own,)
    own.unlink()
    alone, _ = configured(base, (), "lightgcn", (later,))
    assert alone.model == configure("lightgcn", layers=1)


def test_a_variant_has_a_name_and_files_of_its_own(base: Path) -> None:
    text = "model: {name: lattice, objective: {chns: 0.3, sampler: uniform}}"
    write(base.parent / "models" / "lattice-uniform.yaml", text)
    write(tuned_file(base, "toys", "lattice"), "model: {name: lattice, layers: 4}")
    plain, variant = variants(base, (), ["lattice", "lattice-uniform"], [0])
    assert (plain.model, variant.model) == ("lattice", "lattice-uniform")
    models = [each.config.model for each in (plain, variant)]
    assert all(model.name == "lattice" for model in models)
    assert [model.model_dump()["objective"]["chns"] for model in models] == [0, 0.3]
    # What was tuned for the plain one is not the variant's.
    assert [model.model_dump()["layers"] for model in models] == [4, 2]


def test_a_misspelt_variant_is_told_what_is_near(base: Path) -> None:
    write(base.parent / "models" / "lattice-chns.yaml", "model: lattice")
    with pytest.raises(UserError, match=r"did you mean lattice-chns\?"):
        configured(base, (), "lattice-chn")


@pytest.mark.parametrize("name", ["lattice-chns", "../toys", "models/lattice"])
def test_a_name_without_a_file_is_told_with_what_is_near(base: Path, name: str) -> None:
    write(base.parent / "models" / "lattice.yaml", "model: lattice")
    with pytest.raises(UserError, match=f"no model '{name}'; .*; a variant would be "):
        configured(base, (), name)


def test_what_is_tuned_under_a_name_is_what_it_means_in_a_benchmark(base: Path) -> None:
    later = base.parent / "later.yaml"
    write(later, "model: {objective: {chns: 0.3}}")
    with pytest.raises(UserError, match=r"later\.yaml: sets model\.objective, and lattice would"):
        configured(base, (), "lattice", (later,), tuned=False)


@pytest.mark.parametrize("own", [True, False])
def test_a_later_file_of_another_model_is_refused(base: Path, own: bool) -> None:
    if own:
        write(base.parent / "models" / "lightgcn.yaml", "model: {name: lightgcn, layers: 2}")
    later = base.parent / "later.yaml"
    write(later, "model: bm3")
    with pytest.raises(UserError, match=r"later\.yaml: sets model bm3, not lightgcn"):
        configured(base, (), "lightgcn", (later,))


def test_the_base_keeps_its_fields_for_its_own_model(base: Path) -> None:
    config, _ = configured(base, (), "br-mrs")
    assert config.model.model_dump()["dim"] == 16


def test_every_model_with_every_seed_in_order_each_once(base: Path) -> None:
    made = variants(base, (), ["bm3", "lightgcn", "bm3"], [2, 0, 2])
    assert [(each.model, each.seed) for each in made] == [
        ("bm3", 2),
        ("bm3", 0),
        ("lightgcn", 2),
        ("lightgcn", 0),
    ]
    for each in made:
        assert (each.config.model.name, each.config.train.seed) == (each.model, each.seed)
        assert (each.config.train.epochs, each.config.train.batch_size) == (7, 64)
        assert each.config.split.seed == 0


def test_a_seed_keeps_the_training_settings_of_every_file_and_of_set(base: Path) -> None:
    write(base.parent / "models" / "bm3.yaml", "model: {name: bm3}\ntrain: {validate_every: 5}")
    tuned = tuned_file(base, "toys", "bm3")
    write(tuned, "model: {name: bm3}\ntrain: {learning_rate: 0.01}")
    (made,) = variants(base, ("train.patience=3",), ["bm3"], [2])
    assert made.config.train.model_dump(exclude_defaults=True) == {
        "epochs": 7,
        "batch_size": 64,
        "validate_every": 5,
        "learning_rate": 0.01,
        "patience": 3,
        "seed": 2,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: {name: lightgcn}\ngraphs: {k: 3}", "model .of lightgcn. and train only"),
        ("model: {name: bm3}", "model .of lightgcn. and train only"),
        ("model: {name: lightgcn, layer: 3}", "model.layer: no such field"),
        ("train: {epochs: 0}", r"lightgcn\.yaml: train\.epochs"),
        ("train: [", "not YAML"),
    ],
)
def test_a_bad_file_of_a_model_is_named(base: Path, text: str, told: str) -> None:
    write(base.parent / "models" / "lightgcn.yaml", text)
    with pytest.raises(UserError, match=told):
        configured(base, (), "lightgcn")


@pytest.mark.parametrize(
    ("models", "seeds", "overrides", "told"),
    [
        (["lightgcm"], [0], (), "no model 'lightgcm'"),
        (["bm3"], [-1], (), r"train\.seed"),
        ([], [0], (), "nothing to compare"),
        (["bm3"], [], (), "nothing to compare"),
        (["bm3"], [0], ("model.dim=8",), r"models/bm3\.yaml"),
        (["bm3"], [0], ("model=bm3",), r"models/bm3\.yaml"),
        (["bm3"], [0], ("train.epoch=8",), "did you mean epochs"),
    ],
)
def test_what_the_user_can_fix_is_told_before_anything_runs(
    base: Path, models: list[str], seeds: list[int], overrides: tuple[str, ...], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        variants(base, overrides, models, seeds)


def test_mean_and_sample_standard_deviation() -> None:
    assert mean_and_deviation([1.0, 2.0, 6.0]) == {
        "mean": 3.0,
        "deviation": pytest.approx(7**0.5),
        "values": [1.0, 2.0, 6.0],
    }
    assert mean_and_deviation([4.0]) == {"mean": 4.0, "deviation": None, "values": [4.0]}
    assert mean_and_deviation([]) is None


def test_what_was_tuned_is_marked(base: Path) -> None:
    write(base.parent / "models" / "bm3.yaml", "model: bm3")
    write(tuned_file(base, "toys", "lightgcn"), "model: {name: lightgcn, layers: 4}")
    made = variants(base, (), ["bm3", "lightgcn", "bpr-mf"], [0])
    assert [each.tuned for each in made] == [False, True, False]


def row(model: str, **values: object) -> dict[str, Any]:
    spread = {"mean": 0.12345, "deviation": 0.00123, "values": [0.1246, 0.1223]}
    metrics = {metric(name, k): spread for name in METRICS for k in (5, 10, 20)}
    return {
        "model": model,
        "files": [],
        "tuned": False,
        "learned_from": "text and pictures",
        "seeds": [0, 1, 2],
        "runs": ["a", "b", "c"],
        "best_epochs": [120, 98, 133],
        "seconds_per_epoch": spread,
        "faults": [],
        "validation": metrics,
        "test": metrics,
        **values,
    }


AGAINST = {"difference": 0.0123, "low": 0.01, "high": 0.015, "p_holm": 1e-12}
RESULT: dict[str, Any] = {
    "name": "toys",
    "note": "",
    "headline": "recall@20",
    "reference": "lightgcn",
    "users": 19445,
    "conditions": {"positives": "every rating", "split": "random"},
    "rows": [
        row("lightgcn", tuned=True, files=["configs/tuned/toys/lightgcn.yaml"]),
        row("lattice-uniform", against_reference=AGAINST),
    ],
}


def printed(width: int, result: dict[str, Any] = RESULT) -> list[str]:
    text = StringIO()
    benchmark(Console(file=text, width=width), result)
    return text.getvalue().splitlines()


def words_of(header: list[str]) -> list[str]:
    return " ".join(header).split()


@pytest.mark.parametrize("width", [80, 100, 220])
def test_the_table_marks_tuned_rows_and_fits_the_terminal(width: int) -> None:
    lines = printed(width)
    (end,) = (place for place, each in enumerate(lines) if each.startswith("lattice-uniform"))
    head, rows = lines[1 : end - 1], lines[end - 1 : end + 1]
    assert all(len(each) <= width for each in (*head, *rows))
    assert {"recall@20", "difference", "p"} <= set(words_of(head))
    assert ("recall@10" in " ".join(head)) is (width == 220)
    assert re.match(r"lattice-uniform .*\+0\.0123  \+0\.0100 to \+0\.0150  1e-12", rows[1])
    assert [each.split()[1] for each in rows] == (
        ["0.1235"] * 2 if width == 80 else ["tuned", "default"]
    )
    assert "positives: every rating" in lines
    assert any("lightgcn tuned on this data set, lattice-uniform not" in each for each in lines)
    assert "±: standard deviation over the seeds" in lines


def test_columns_that_tell_nothing_go_before_others() -> None:
    """Ten narrow numbers are worth more than the word "default" in each row."""
    one = {"mean": 0.12345, "deviation": None, "values": [0.12345]}
    metrics = {metric(name, k): one for name in METRICS for k in (5, 10, 20)}
    values = {"seeds": [0], "validation": metrics, "test": metrics, "seconds_per_epoch": None}
    rows = [row("most-popular", **values), row("ease", against_reference=AGAINST, **values)]
    lines = printed(80, {**RESULT, "rows": rows})
    assert words_of(lines[1:3]) == [
        *("test", "test", "test", "model", "recall@20", "ndcg@10", "ndcg@20"),
        *("difference", "95", "%", "interval", "p"),
    ]
    assert "the same in all rows: settings: default; seeds: 1 of 1; " in "".join(lines)
    assert "no row has a value for: s/epoch" in lines
    assert "±" not in "".join(lines)
    assert "too narrow for: best epoch, test recall@10, validation recall@20; " in "".join(lines)


def test_only_columns_that_are_shown_are_explained() -> None:
    interval = "95 % interval: paired bootstrap over the users"
    assert any(each.startswith(f"{interval}; p: Wilcoxon") for each in printed(80))
    narrow = printed(60)
    assert any("95 % interval" in each for each in narrow if each.startswith("too narrow"))
    assert any(each.startswith("p: Wilcoxon") for each in narrow)
    assert interval not in "".join(narrow)


@pytest.mark.parametrize(
    ("ingest", "words"),
    [
        ({}, "every rating, one star included"),
        ({"min_rating": 4}, "ratings of at least 4 "),
        ({"format": "ready-made"}, "every interaction of the ready-made data set"),
    ],
)
def test_positives_in_words(ingest: dict[str, Any], words: str) -> None:
    assert conditions.positives(IngestConfig.model_validate(ingest)).startswith(words)


def test_a_random_split_of_dated_data_is_called_one() -> None:
    assert "ignores the dates" in conditions.split(SplitConfig(), dated=True)
    assert "dates" not in conditions.split(SplitConfig(), dated=False)
    assert "dates" not in conditions.split(SplitConfig(protocol="time"), dated=True)


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ({"text", "visual"}, "text and pictures"),
        ({"text"}, "text only"),
        (set(), "interactions only"),
    ],
)
def test_what_a_model_learned_from_in_words(used: set[str], words: str) -> None:
    features = {
        name: {"used": name in used, "label": "L", "present": 3, "items": 4}
        for name in ("text", "visual")
    }
    assert conditions.learned_from(features) == words
    assert conditions.learned_from({}) == "interactions only"
    assert conditions.coverage({}) == "none is read"
    assert conditions.coverage(features) == "text: L, 3 of 4 items; visual: L, 3 of 4 items"
