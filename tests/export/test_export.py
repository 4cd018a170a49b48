"""Exports: what each layout holds, round trips, and the toolboxes that read them."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml
from rewritten import rewrite
from whole_pipeline import changed

from brmrs import columns
from brmrs.config.data import IngestConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.export.data import ExportData, load
from brmrs.export.targets import Form, Target
from brmrs.export.write import export
from brmrs.ingest.stage import ingest
from brmrs.models import bundle
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("export") / "artifacts")


def finished(config: PipelineConfig, store: ArtifactStore) -> Run:
    """A run of the pipeline without Prefect."""
    from brmrs.stages import STAGES, externals
    from brmrs.store.execute import execute
    from brmrs.store.fingerprint import fingerprint

    prints = fingerprint(config, externals(STAGES))
    records: dict[str, Any] = {}
    name = runs.new_name(store)
    for stage in STAGES:
        if stage.name != "report":
            upstream = {each: records[each].artifact for each in stage.upstream}
            records[stage.name] = execute(stage, config, prints, upstream, store, name)
    run = Run(name, config.model_dump(mode="json"), prints, records, 1.0, {})
    runs.save(run, store)
    return runs.find(store, name)


@pytest.fixture(scope="module")
def run(small_config: PipelineConfig, store: ArtifactStore) -> Run:
    return finished(small_config, store)


@pytest.fixture(scope="module")
def data(run: Run, store: ArtifactStore) -> ExportData:
    return load(run, store)


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def test_what_mmrec_gets_is_read_back(
    run: Run, store: ArtifactStore, data: ExportData, tmp_path: Path
) -> None:
    """The same split, ids and vectors, to the last bit."""
    export(run, store, Target.MMREC, tmp_path / "out")
    found = ingest(IngestConfig(format="ready-made", path=tmp_path / "out" / "small"))
    assert (found.user_ids, found.asins) == (data.users, data.items)
    for mine, theirs in (
        (found.interactions.user, data.user),
        (found.interactions.item, data.item),
        (found.interactions.rating, data.rating),
        (found.interactions.timestamp, data.timestamp),
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert found.given is not None
    np.testing.assert_array_equal(found.given.labels, data.split)
    assert set(found.given.features) == {"text", "visual"}
    for modality, vectors in found.given.features.items():
        np.testing.assert_array_equal(vectors, data.vectors[modality].rows)


def test_mmrec_finds_the_columns_that_it_reads(
    run: Run, store: ArtifactStore, data: ExportData, tmp_path: Path
) -> None:
    """Its loader takes userID, itemID and x_label, and row i of an array for itemID i."""
    done = export(run, store, Target.MMREC, tmp_path / "out")
    folder = tmp_path / "out" / "small"
    table = pl.read_csv(folder / "small.inter", separator="\t")
    assert table.columns[:2] == ["userID", "itemID"]
    assert table.columns[-1] == "x_label"
    assert table["userID"].max() == len(data.users) - 1
    settings = yaml.safe_load((folder / "small.yaml").read_text())
    for name in ("vision_feature_file", "text_feature_file"):
        assert len(np.load(folder / settings[name])) == len(data.items)
    assert "small/small.inter" in done["files"]


def test_the_split_of_every_toolbox_is_that_of_the_run(
    run: Run, store: ArtifactStore, data: ExportData, tmp_path: Path
) -> None:
    sizes = [int((data.split == part).sum()) for part in columns.SPLIT_NAMES]
    export(run, store, Target.RECBOLE, tmp_path / "recbole")
    parts = [rows(tmp_path / f"recbole/small/small.{p}.inter") for p in ("train", "valid", "test")]
    assert [len(part) - 1 for part in parts] == sizes
    user, item = (int(column[data.split == 0][0]) for column in (data.user, data.item))
    assert parts[0][1][:2] == [data.users[user], data.items[item]]
    for target, raw in ((Target.ELLIOT, False), (Target.CORNAC, True)):
        export(run, store, target, tmp_path / target)
        names = ("train", "validation", "test")
        found = [rows(tmp_path / target / "small" / f"{name}.tsv") for name in names]
        assert [len(part) for part in found] == sizes
        expected = [data.users[user], data.items[item]] if raw else [str(user), str(item)]
        assert found[0][0][:2] == expected


def test_elliot_finds_a_file_for_each_item(
    run: Run, store: ArtifactStore, data: ExportData, tmp_path: Path
) -> None:
    export(run, store, Target.ELLIOT, tmp_path / "out")
    folder = tmp_path / "out" / "small"
    settings = yaml.safe_load((folder / "data.yml").read_text())["data_config"]
    for loader in settings["side_information"]:
        (place,) = (value[2:] for key, value in loader.items() if key.endswith("_features"))
        files = {int(path.stem): path for path in (folder / place).iterdir()}
        assert files.keys() == set(range(len(data.items)))
        np.testing.assert_array_equal(np.load(files[3]), data.vectors[place].rows[3])


def test_elliot_takes_its_paths_for_paths_and_its_tables_without_header(
    run: Run, store: ArtifactStore, data: ExportData, tmp_path: Path
) -> None:
    """By its source (0.3.1): it resolves texts with a leading dot, and calls up to four columns
    userId, itemId, rating and timestamp; a loader takes the names of its files for whole numbers.
    """
    export(run, store, Target.ELLIOT, tmp_path / "out")
    folder = tmp_path / "out" / "small"
    settings = yaml.safe_load((folder / "data.yml").read_text())["data_config"]
    assert settings["strategy"] == "fixed"
    loaders = settings["side_information"]
    assert [each["dataloader"] for each in loaders] == ["TextualAttribute", "VisualAttribute"]
    tables = {key: value for key, value in settings.items() if key.endswith("_path")}
    assert tables.keys() == {"train_path", "validation_path", "test_path"}
    folders = [value for each in loaders for key, value in each.items() if key != "dataloader"]
    for path in (*tables.values(), *folders):
        assert path.startswith("./")
        assert (folder / path).exists()
    for path in tables.values():
        table = pl.read_csv(folder / path, separator="\t", has_header=False)
        assert table.dtypes == [pl.Int64, pl.Int64, pl.Float64, pl.Int64]
        assert table["column_2"].is_between(0, len(data.items) - 1).all()


def test_vectors_give_the_scores_of_the_model(
    run: Run, store: ArtifactStore, tmp_path: Path
) -> None:
    done = export(run, store, Target.VECTORS, tmp_path / "out")
    model = bundle.load(store.path(run.artifact("train")))
    users = pl.read_parquet(tmp_path / "out" / "fused_users.parquet")
    items = pl.read_parquet(tmp_path / "out" / "fused_items.parquet")
    assert users["user_id"].to_list() == list(model.about.users)
    assert items["asin"].to_list() == list(model.about.items)
    scores = users["vector"].to_numpy() @ items["vector"].to_numpy().T
    import torch

    expected = model.fused.scores(torch.arange(len(users))).detach().numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    branches = {name.partition("_")[0] for name in done["files"]}
    assert branches == {"fused", "text", "visual"}


def test_the_index_finds_the_best_items(run: Run, store: ArtifactStore, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    export(run, store, Target.VECTORS, tmp_path / "out")
    index = faiss.read_index(str(tmp_path / "out" / "fused_items.faiss"))
    users = pl.read_parquet(tmp_path / "out" / "fused_users.parquet")["vector"].to_numpy()[:5]
    items = pl.read_parquet(tmp_path / "out" / "fused_items.parquet")["vector"].to_numpy()
    _, found = index.search(np.ascontiguousarray(users), 1)
    assert found[:, 0].tolist() == (users @ items.T).argmax(axis=1).tolist()


def test_a_model_without_vectors_is_refused_in_one_line(
    small_config: PipelineConfig, store: ArtifactStore, tmp_path: Path
) -> None:
    config = changed(small_config, "model", {"name": "item-knn"})
    run = finished(config, store)
    with pytest.raises(UserError, match="no branch of item-knn scores by an inner product"):
        export(run, store, Target.VECTORS, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", list(Form))
def test_recommendations(run: Run, store: ArtifactStore, tmp_path: Path, form: Form) -> None:
    export(run, store, Target.RECOMMENDATIONS, tmp_path / "out", form)
    path = tmp_path / "out" / f"recommendations.{form}"
    published = pq.read_table(
        store.path(run.artifact("publish"), "publish/recommendations.parquet")
    )
    if form == Form.PARQUET:
        found = pq.read_table(path).to_pylist()
    elif form == Form.CSV:
        with path.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
    else:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["asin"] for row in found] == published["asin"].to_pylist()
    assert [float(row["score"]) for row in found] == pytest.approx(published["score"].to_pylist())
    assert any(row["title"] for row in found)


@pytest.mark.parametrize("target", list(Target))
def test_the_same_run_gives_the_same_bytes(
    run: Run, store: ArtifactStore, tmp_path: Path, target: Target
) -> None:
    for name in ("a", "b"):
        export(run, store, target, tmp_path / name)
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files
    for path in files:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes(), path.name


def foreign_items(out: Path) -> None:
    (path,) = out.rglob("interactions.parquet")
    table = pl.read_parquet(path).with_columns(pl.lit(10**6, pl.Int32).alias(columns.ITEM))
    pq.write_table(table.to_arrow().cast(columns.SPLIT_INTERACTIONS), path)


def no_split(out: Path) -> None:
    (path,) = out.rglob("interactions.parquet")
    pl.read_parquet(path).drop(columns.SPLIT).write_parquet(path)


@pytest.mark.parametrize("change", [foreign_items, no_split])
def test_a_forged_split_is_a_clear_line(
    run: Run, store: ArtifactStore, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    forged = rewrite(run, store, "split", change)
    runs.save(run, store)
    with pytest.raises(UserError, match=r"unknown item|column split is missing"):
        export(forged, store, Target.CORNAC, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_never_written_to(
    run: Run, store: ArtifactStore, tmp_path: Path
) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="the folder is not empty; name a new one"):
        export(run, store, Target.MMREC, used)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="it is a link or a file"):
        export(run, store, Target.MMREC, tmp_path / "link")
    with pytest.raises(UserError, match="it has no name"):
        export(run, store, Target.MMREC, Path())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "used"]
    (tmp_path / "empty").mkdir()
    export(run, store, Target.CORNAC, tmp_path / "empty")
    assert (tmp_path / "empty" / "small" / "train.tsv").is_file()


def toolbox(name: str) -> str:
    """The interpreter that has a toolbox: the one that BRMRS_TOOLBOXES names, or this one."""
    named = os.environ.get("BRMRS_TOOLBOXES")
    if named is None and find_spec(name) is None:
        pytest.skip(f"{name} is not installed; BRMRS_TOOLBOXES names an interpreter that has it")
    return named or sys.executable


RECBOLE = """
import sys, numpy as np
np.float_, np.complex_, np.unicode_ = np.float64, np.complex128, np.str_  # RecBole is of NumPy 1
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed
folder = sys.argv[1]
config = Config(model="BPR", dataset="small", config_file_list=[folder + "/small/small.yaml"],
                config_dict={"data_path": folder, "epochs": 1, "use_gpu": False, "state": "ERROR",
                             "metrics": ["Recall"], "valid_metric": "Recall@10",
                             "checkpoint_dir": folder + "/saved", "show_progress": False})
init_seed(0, True)
dataset = create_dataset(config)
train, valid, test = data_preparation(config, dataset)
model = get_model("BPR")(config, train.dataset)
trainer = Trainer(config, model)
trainer.fit(train, valid, saved=False, show_progress=False)
print("train", len(train.dataset), "test", len(test.dataset))
weights = dataset.get_preload_weight("text_id")
print("vectors", int((np.abs(weights).sum(axis=1) > 0).sum()), weights.shape[1])
"""

CORNAC = """
import sys, numpy as np
import cornac
from cornac.data import ImageModality, Reader
from cornac.eval_methods import BaseMethod
from cornac.models import BPR
folder = sys.argv[1] + "/small/"
train, test = (Reader().read(folder + part + ".tsv", fmt="UIRT", sep="\\t")
               for part in ("train", "test"))
ids = open(folder + "item_ids.txt", encoding="utf-8").read().split("\\n")[:-1]
image = ImageModality(features=np.load(folder + "visual.npy"), ids=ids, normalized=True)
method = BaseMethod.from_splits(train, test, fmt="UIRT", item_image=image, exclude_unknowns=False)
method.evaluate(BPR(max_iter=1, seed=0), [cornac.metrics.Recall(k=10)], user_based=True)
print("train", len(train), "test", len(test), "vectors", method.train_set.num_items <= len(ids))
"""


def answer(interpreter: str, script: str, folder: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [interpreter, "-c", script, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_recbole_trains_an_epoch(
    run: Run, store: ArtifactStore, data: ExportData, tmp_path: Path
) -> None:
    interpreter = toolbox("recbole")
    export(run, store, Target.RECBOLE, tmp_path / "out")
    found = answer(interpreter, RECBOLE, tmp_path / "out")
    assert f"train {(data.split == 0).sum()} test {(data.split == 2).sum()}" in found
    text = data.vectors["text"]
    assert f"vectors {text.present.sum()} {text.rows.shape[1]}" in found


@pytest.mark.slow
def test_cornac_trains_an_epoch(
    run: Run, store: ArtifactStore, data: ExportData, tmp_path: Path
) -> None:
    interpreter = toolbox("cornac")
    export(run, store, Target.CORNAC, tmp_path / "out")
    found = answer(interpreter, CORNAC, tmp_path / "out")
    expected = f"train {(data.split == 0).sum()} test {(data.split == 2).sum()}"
    assert f"{expected} vectors True" in found
