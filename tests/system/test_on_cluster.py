"""Embedding and fetching by a Ray cluster: the same bytes as in this process."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from misbehaving_server import Server, config, served  # noqa: F401 - a fixture
from pictures import jpeg
from ray_nodes import ray_nodes

from brmrs.config.load import parse
from brmrs.config.machines import ExecutionConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features import loading, on_cluster, precision
from brmrs.features.text import encoder as text_encoder
from brmrs.features.text import on_cluster as text_cluster
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import network as networks
from brmrs.features.visual import on_cluster as visual_cluster
from brmrs.images.decode import Status
from brmrs.images.picture_store import PictureStore
from brmrs.images.stage import gather
from brmrs.stages import needed
from brmrs.store import keys
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record
from brmrs.system import cluster
from brmrs.system.cluster import Actors, Columns, Pool, Tasks

TEXTS = [f"A {'very ' * (n % 50)}good thing number {n}" for n in range(120)]


@pytest.fixture(scope="module")
def two_cores() -> Iterator[ExecutionConfig]:
    with ray_nodes(cores=2) as found:
        register()
        yield ExecutionConfig(engine="ray", address=found.address, workers=2)


def register() -> None:
    """Let the classes of this file travel to actors, which cannot import it."""
    pytest.importorskip("ray").cloudpickle.register_pickle_by_value(sys.modules[__name__])


# Without a cluster


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'brmrs\[ray\]'"):
        list(cluster.apply(Pool(), [{"row": [0]}], [Tasks(dict)]))


def test_nothing_to_do_starts_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert list(cluster.apply(Pool(), [], [Tasks(dict)])) == []


def test_the_engine_is_in_no_key(small_config: PipelineConfig) -> None:
    other = small_config.model_copy(
        update={"execution": ExecutionConfig(engine="ray", workers=3, gpus=0.5)}
    )
    stages = [stage for stage in needed(small_config) if "execution" in stage.config]
    names = ["text_features", "images", "visual_features", "train"]
    assert [stage.name for stage in stages] == names
    for stage in stages:
        parts = keys.fixed_parts(stage, small_config)
        assert parts == keys.fixed_parts(stage, other)
        assert "ray" not in parts["libraries"]


def test_settings_of_actors_need_actors() -> None:
    with pytest.raises(UserError, match="workers would have no effect: engine=local has no actors"):
        parse({"execution": {"workers": 2}}, "test")


def test_a_machine_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = on_cluster.Twin(text_encoder.__name__)
    twin.check()
    other = on_cluster.Twin(text_encoder.__name__)
    monkeypatch.setattr(precision, "processor", lambda: {"device": "another"})
    with pytest.raises(UserError, match=r"execution: .* has another kind of processor"):
        other.check()


# With one node


class Double:
    """The work of an actor, whose faults are at one row."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self._fault = fault

    def __call__(self, batch: Columns) -> Columns:
        if self._fault and batch["row"][0] == 4:
            raise self._fault
        return {"row": batch["row"], "double": 2 * batch["row"]}


def add_one(batch: Columns) -> Columns:
    return {"row": batch["row"], "double": batch["double"] + 1}


def batches() -> list[Columns]:
    return [{"row": np.arange(start, start + 2)} for start in range(0, 20, 2)]


@pytest.mark.slow
def test_steps_on_batches(two_cores: ExecutionConfig) -> None:
    pool = on_cluster.pool(two_cores)
    steps: list[Tasks | Actors] = [Actors(Double()), Tasks(add_one, here=True), Tasks(add_one)]
    found = list(cluster.apply(pool, batches(), steps))
    assert sorted(int(row) for batch in found for row in batch["row"]) == list(range(20))
    assert all((batch["double"] == 2 * batch["row"] + 2).all() for batch in found)
    with pytest.raises(UserError, match=r"^a fault of the user$"):
        list(cluster.apply(pool, batches(), [Actors(Double(UserError("a fault of the user")))]))
    with pytest.raises(RuntimeError, match=r"^ValueError: a fault of ours, on .*\n"):
        list(cluster.apply(pool, batches(), [Actors(Double(ValueError("a fault of ours")))]))
    with pytest.raises(UserError, match="room for 2 workers of 1 cores"):
        list(cluster.apply(Pool(pool.address, workers=3), batches(), steps))


def stages(
    root: Path, config: PipelineConfig, execution: ExecutionConfig, until: str
) -> dict[str, Record]:
    settings = config.model_copy(update={"execution": execution})
    names = needed(settings, until)
    prints = fingerprint(settings, [name for stage in names for name in stage.external])
    found: dict[str, Record] = {}
    for stage in names:
        upstream = {name: found[name].artifact for name in stage.upstream}
        found[stage.name] = execute(stage, settings, prints, upstream, ArtifactStore(root), "r")
    return found


@pytest.mark.slow
def test_the_sample_has_the_same_digests(
    tmp_path: Path, small_config: PipelineConfig, two_cores: ExecutionConfig
) -> None:
    until = "text_features,visual_features"
    local = stages(tmp_path / "local", small_config, ExecutionConfig(), until)
    ray = stages(tmp_path / "ray", small_config, two_cores, until)
    assert local.keys() == ray.keys()
    for name, record in ray.items():
        assert record.key == local[name].key
        assert record.artifact == local[name].artifact
    for name in ("text_features", "visual_features"):
        assert ray[name].notes["rows"] == local[name].notes["rows"]
        assert ray[name].notes["rows"]["embedded"] > 0


def collected(found: Any, rows: int) -> list[np.ndarray]:
    """The parts of embeddings in the order of their rows; each row occurs once."""
    parts: dict[int, list[np.ndarray]] = {}
    for places, *values in found:
        for place, *row in zip(places.tolist(), *values, strict=True):
            assert place not in parts
            parts[place] = row
    return [np.stack(each) for each in zip(*(parts[row] for row in range(rows)), strict=True)]


@pytest.mark.slow
def test_texts_of_all_lengths_and_characters(two_cores: ExecutionConfig) -> None:
    model = loading.load("all-MiniLM-L6-v2")
    texts = ["日本語", *TEXTS, "many words " * 400]
    local = text_encoder.embed_all(model, texts, 16, "mean")
    (ray,) = collected(text_cluster.embed(model, texts, 16, "mean", two_cores), len(texts))
    assert ray.dtype == local.dtype
    assert (ray == local).all()


def pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{n}.jpg" for n in range(count)]
    for n, path in enumerate(paths):
        path.write_bytes(jpeg(size=(40 + n, 60)))
    return paths


def network(layer: bool = True) -> Any:
    from brmrs.config.features import VisualConfig

    visual = VisualConfig(backbone="resnet18", weights="random", regions=layer, batch_size=4)
    return networks.load(visual)


@pytest.mark.slow
def test_vectors_and_maps_of_pictures(tmp_path: Path, two_cores: ExecutionConfig) -> None:
    paths = pictures(tmp_path / "pictures", 19)
    found = network()
    arguments = (found.module, found.preprocessing, paths, 4)
    local = collected(visual_encoder.embed(*arguments), len(paths))
    ray = collected(visual_cluster.embed(*arguments, two_cores), len(paths))
    assert [part.dtype for part in local] == [np.float32, np.float16]
    for one, other in zip(local, ray, strict=True):
        assert one.dtype == other.dtype
        assert (one == other).all()


@pytest.mark.slow
def test_fetched_pictures(server: Server, tmp_path: Path, two_cores: ExecutionConfig) -> None:
    asked = [
        ("photo",),
        ("html", "photo"),
        ("absent", "gone"),
        ("cut",),
        ("redirect",),
        ("busy-once",),
        *((f"numbered/{n}",) for n in range(40)),
    ]
    found = {}
    for name, execution in (("local", ExecutionConfig()), ("ray", two_cores)):
        with Server() as each:
            addresses = [tuple(each.url(path) for path in paths) for paths in asked]
            store = PictureStore(tmp_path / name)
            ids = [str(n) for n in range(len(asked))]
            got = gather(ids, addresses, config(retries=1, rate=1000), store, execution)
            store.publish(got, tmp_path / f"{name} out")
            found[name] = [
                (picture.status, picture.sha256, (picture.source or "").rpartition("/")[2])
                for picture in got
            ]
            asked_for = each.count("photo")
            again = gather(ids, addresses, config(retries=1, rate=1000), store, execution)
            assert [picture.status for picture in again] == [picture.status for picture in got]
            assert each.count("photo") == asked_for > 0
    left = [
        sorted(path.name for path in (tmp_path / f"{name} out").rglob("*.*"))
        for name in ("local", "ray")
    ]
    assert left[0] == left[1] != []
    assert found["local"] == found["ray"]
    assert [picture[0] for picture in found["ray"]].count(Status.OK) == 44
