"""Three nodes, of which one is killed in the middle: right bytes, nothing finished done twice."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from misbehaving_server import Server
from misbehaving_server import config as limits
from pictures import jpeg
from ray_nodes import ray_nodes

from brmrs.config.features import VisualConfig
from brmrs.config.machines import ExecutionConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.features import embeddings, loading
from brmrs.features.text import encoder as text_encoder
from brmrs.features.text import on_cluster as text_cluster
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import network as networks
from brmrs.features.visual import on_cluster as visual_cluster
from brmrs.images import on_cluster as images_cluster
from brmrs.images.decode import Status
from brmrs.images.picture_store import PictureStore
from brmrs.stages import StageContext
from brmrs.system.cluster import Columns

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes() -> Iterator[Any]:
    with ray_nodes(3) as found:
        pytest.importorskip("ray").cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield found


def logged(work: type, log: Path) -> type:
    """The work of an actor that also logs the rows it begins with, slowly."""

    class Logged(work):  # type: ignore[misc]
        def __call__(self, batch: Columns) -> Columns:
            with log.open("a") as file:
                file.write(" ".join(map(str, batch["row"])) + "\n")
            time.sleep(0.2)
            return dict(super().__call__(batch))

    return Logged


def rows_of(log: Path) -> list[int]:
    return [int(row) for line in log.read_text().splitlines() for row in line.split()]


def kept_while_killing(
    folder: Path, dimension: int, regions: int, count: int, embed: Callable[..., Any], kill: Any
) -> tuple[np.ndarray, set[int], list[int]]:
    """Vectors by way of the cache; the rows that it had when a node was killed; rows done later."""
    context = StageContext(PipelineConfig(), {}, folder, folder, stage_cache=folder / "cache")
    contents = [f"{n:064x}" for n in range(count)]
    finished: set[int] = set()
    log, before = folder / "log", 0

    def embed_and_kill(new: np.ndarray) -> Iterator[Any]:
        nonlocal before
        for number, (rows, *values) in enumerate(embed(new)):
            if number == 3:  # the first three are in the cache
                before = len(rows_of(log))
                kill()
            if number < 3:
                finished.update(new[rows].tolist())
            yield rows, *values

    embeddings_shard = embeddings.SHARD
    embeddings.SHARD = 1
    try:
        found = embeddings.gather(
            context, "test", "0" * 64, contents, dimension, embed_and_kill, regions
        )
    finally:
        embeddings.SHARD = embeddings_shard
    return np.array(found.vectors), finished, rows_of(log)[before:]


def test_texts(tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loading.load("all-MiniLM-L6-v2")
    texts = [f"A {'very ' * (n % 50)}good thing number {n}" for n in range(240)]
    local = text_encoder.embed_all(model, texts, 16)
    monkeypatch.setattr(
        text_cluster, "EmbedTexts", logged(text_cluster.EmbedTexts, tmp_path / "log")
    )
    execution = ExecutionConfig(engine="ray", address=nodes.address)
    vectors, finished, later = kept_while_killing(
        tmp_path,
        local.shape[1],
        0,
        len(texts),
        lambda new: text_cluster.embed(
            model, [texts[row] for row in new], 16, "truncate", execution
        ),
        lambda: nodes.remove_node(_other(nodes), allow_graceful=False),
    )
    assert (vectors == local).all()
    assert finished
    assert later
    assert not finished & set(later)


def _other(nodes: Any) -> Any:
    """A node that is not the one of this process."""
    mine = pytest.importorskip("ray").get_runtime_context().get_node_id()
    others = [node for node in nodes.worker_nodes if node.node_id != mine]
    return min(others, key=lambda node: node.node_id)


def test_pictures(tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{n}.jpg" for n in range(96)]
    for n, path in enumerate(paths):
        path.write_bytes(jpeg(size=(40 + n, 60)))
    network = networks.load(VisualConfig(backbone="resnet18", weights="random", batch_size=2))
    assert network.module is not None
    arguments = network.module, network.preprocessing
    local = visual_encoder.embed_all(*arguments, paths, 2)
    log = tmp_path / "log"
    monkeypatch.setattr(visual_cluster, "EmbedPictures", logged(visual_cluster.EmbedPictures, log))
    execution = ExecutionConfig(engine="ray", address=nodes.address)
    vectors, finished, later = kept_while_killing(
        tmp_path,
        local.shape[1],
        0,
        len(paths),
        lambda new: visual_cluster.embed(*arguments, [paths[row] for row in new], 2, execution),
        lambda: nodes.remove_node(_other(nodes), allow_graceful=False),
    )
    assert (vectors == local).all()
    assert finished
    assert later
    assert not finished & set(later)


def test_downloads(tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored before the loss is not asked for again."""
    monkeypatch.setattr(images_cluster, "ADDRESSES", 4)
    execution = ExecutionConfig(engine="ray", address=nodes.address)
    stored: list[str] = []
    record = PictureStore.record
    asked: list[str] = []

    def record_and_kill(self: PictureStore, address: str, picture: Any) -> None:
        record(self, address, picture)
        if len(stored) == 8:
            asked.extend(server.log)
            nodes.remove_node(_other(nodes), allow_graceful=False)
        stored.append(address)

    monkeypatch.setattr(PictureStore, "record", record_and_kill)
    with Server() as server:
        jobs = [(server.url(f"numbered/{n}"),) for n in range(120)]
        settings = limits(rate=20, per_host=16, timeout=20.0)
        found = images_cluster.fetch_all(jobs, settings, PictureStore(tmp_path), execution)
        later = server.log[len(asked) :]
        first = {address.removeprefix(server.url("")) for address in stored[:8]}
    assert {picture.status for picture in found.values()} == {Status.OK}
    assert len(found) == 120
    assert later
    assert not [path for path in later if path.lstrip("/") in first]
