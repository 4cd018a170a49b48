"""docs/extending.md: every Python block is run through the pipeline, every command as it is."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from whole_pipeline import Pipeline

from brmrs.config.load import load, parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.evaluation.stage import METRICS_FILE
from brmrs.experiments.search_spaces import space
from brmrs.models.bundle import load as load_bundle
from brmrs.stages import ITEMS, needed, of_plugins
from brmrs.store.artifacts import ArtifactStore
from brmrs.system.files import read_json

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```python title="([\w.]+)"\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page's files, and a dump of the toy format: users like items of their own parity."""
    path, tmp_path = [*sys.path], tmp_path_factory.mktemp("extending")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    rows = [f"u{u} i{i} 5" for u in range(24) for i in range(16) if (u + i) % 2 == 0]
    (tmp_path / "ratings.toy").write_text("\n".join(rows))
    (tmp_path / "images").mkdir()
    for item in range(3):
        Image.new("RGB", (40, 40), (80 * item, 10, 10)).save(tmp_path / "images" / f"i{item}.png")
    yield tmp_path
    sys.path[:] = path


def configured(folder: Path) -> PipelineConfig:
    values: dict[str, Any] = {
        "plugins": [str(folder / name) for name in FILES],
        "ingest": {"format": "toy-lines", "reviews": str(folder / "ratings.toy"), "k": 0},
        "images": {"folder": str(folder / "images"), "fetch": False},
        "features": {"visual": {"backbone": "toy-net", "weights": "random"}},
        "model": "toy",
        "train": {"epochs": 2, "selection": "first_hit@5"},
    }
    return parse(values, "x.yaml")


def test_every_recipe_runs_in_one_pipeline(folder: Path) -> None:
    config = configured(folder)
    pipeline = Pipeline(
        ArtifactStore(folder / "artifacts"), needed(config, "visual_features,report,export")
    )
    ran, artifacts = pipeline.run(config)
    assert ran == {stage.name for stage in pipeline.stages} >= {"export"}
    place = {name: pipeline.store.path(artifact) for name, artifact in artifacts.items()}
    # the dump format and the backbone
    assert (place["ingest"] / Path(ITEMS).name).is_file()
    about = read_json(place["visual_features"] / "meta.json")
    assert (about["present"], about["dimension"]) == (3, 12)
    # the metric, in numbers, definitions, report; it selected the model
    metrics = read_json(place["evaluate"] / METRICS_FILE)
    assert 0 <= metrics["test"]["first_hit@20"] <= 1
    assert metrics["definitions"]["first_hit"].startswith("Share of the first K")
    assert "first hit@20" in (place["report"] / "report.html").read_text()
    bundle = load_bundle(place["train"])
    assert list(bundle.about.validation) == ["first_hit@5"]
    # the stage
    vectors = np.load(place["export"] / "item_vectors.npy")
    np.testing.assert_array_equal(vectors, bundle.fused.q.numpy())  # type: ignore[attr-defined]
    assert pipeline.run(config)[0] == set()
    # the model's own range, and the one of a field's name
    assert set(space(config.model)) == {"model.scale", "train.learning_rate"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my_model.py", {"train"}),
        ("my_metric.py", {"train", "evaluate"}),
        ("my_format.py", {"ingest"}),
        ("my_backbone.py", {"visual_training", "visual_features"}),
        ("my_stage.py", {"export"}),
    ],
)
def test_each_file_is_code_of_the_stage_that_runs_it(
    name: str, expected: set[str], folder: Path
) -> None:
    from brmrs.store.keys import fixed_parts

    config = configured(folder)
    module = name.removesuffix(".py")
    stages = needed(config, "visual_features,report,export")
    found = {stage.name for stage in stages if module in fixed_parts(stage, config)["code"]}
    assert found == expected


def test_an_undeclared_stage_or_section_is_refused(tmp_path: Path) -> None:
    from brmrs.errors import UserError

    file = tmp_path / "my_stage.py"
    file.write_text(FILES["my_stage.py"].replace('"train"', '"trian"'))
    with pytest.raises(UserError, match=r"my_stage\.py, line \d+: no stage 'trian'; did you mean"):
        of_plugins((file,))
    file.write_text(FILES["my_stage.py"].replace('"publish"', '"publsh"'))
    with pytest.raises(UserError, match="the configuration has no section publsh"):
        of_plugins((file,))


@pytest.mark.slow
def test_every_command_of_the_page_works(folder: Path, small_sample: Path) -> None:
    """Over the small sample; the commands are those of the page, letter by letter."""
    sample = folder / "sample"
    sample.mkdir()
    (sample / "config.yaml").write_text(
        f"name: small\ningest: {{reviews: {small_sample}/reviews.jsonl.gz, "
        f"metadata: {small_sample}/meta.jsonl.gz, max_bad_share: 0.1}}\n"
        f"images: {{folder: {small_sample}/images, fetch: false}}\n"
        "features: {visual: {backbone: resnet18, weights: random}}\n"
        "model: {name: br-mrs, dim: 8}\ntrain: {epochs: 2, batch_size: 512}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "prefect")}
    for words in COMMANDS:
        assert words[0] == "brmrs"
        run = [sys.executable, "-c", "from flows.cli.app import main; main()", *words[1:]]
        done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    tuned = load(sample / "tuned" / "small" / "toy.yaml", (f"plugins={folder / 'my_model.py'}",))
    assert tuned.model.name == "toy"
