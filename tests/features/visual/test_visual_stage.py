import json
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pictures import GOOD, jpeg, rotated_jpeg
from safetensors.torch import save_file
from stage_runs import die_after_three_shards, other_process, same_tables
from torchvision.models import get_model

from brmrs import columns
from brmrs.config.features import VisualConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features import feature_table
from brmrs.features.visual import backbones
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import network as networks
from brmrs.features.visual import stage as visual
from brmrs.features.visual.pixels import FEW
from brmrs.features.visual.seeded import DrawFrom
from brmrs.images import stage as images
from brmrs.images.decode import Picture, Status, check
from brmrs.images.picture_store import PictureStore, stored_files
from brmrs.stages import StageContext

RANDOM = VisualConfig(backbone="resnet18", weights="random", batch_size=4)
KINDS = ("jpeg", "cmyk jpeg", "16-bit png", "palette png", "alpha png", "grey jpeg")
MISSING = Picture(Status.MISSING)
MANY, SHARD = FEW + 32, 16


def stage(
    folder: Path, data: list[bytes | None], config: VisualConfig, cache: Path | None = None
) -> dict[str, Any]:
    """The stage on these pictures (None: missing), into folder/out; its notes."""
    store, artifact = PictureStore(folder / "store"), folder / "images"
    pictures = [check(each, 10**6, 10**6) if each else MISSING for each in data]
    for picture, each in zip(pictures, data, strict=True):
        store.add(picture, each or b"")
    artifact.mkdir(parents=True)
    (folder / "out").mkdir()
    store.publish(pictures, artifact)
    images.write(pictures, artifact)
    configuration = PipelineConfig.model_validate({"features": {"visual": config}})
    inputs = {"images": artifact, "visual_training": folder / "training"}
    context = StageContext(
        configuration, inputs, folder / "out", folder / "scratch", stage_cache=cache
    )
    visual.run(context)
    return context.notes


def run(folder: Path) -> None:
    """Also run by a second process."""
    kinds = [GOOD[name][0] for name in KINDS]
    stage(folder, [*kinds, None, rotated_jpeg(), b"<html>", kinds[0]], RANDOM)


def vectors(folder: Path) -> np.ndarray:
    table = pq.read_table(folder / "out" / "features.parquet")
    return np.array(table["vector"].to_pylist(), dtype=np.float32)


def meta(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "out" / "meta.json").read_text())
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def embedded(network: networks.Network, paths: list[Path], batch_size: int) -> np.ndarray:
    """(C, d) vectors of files."""
    assert network.module is not None
    return visual_encoder.embed_all(network.module, network.preprocessing, paths, batch_size)


def test_the_stage_and_another_process(tmp_path: Path) -> None:
    run(tmp_path / "here")
    table = pq.read_table(tmp_path / "here" / "out" / "features.parquet")
    assert table.schema == columns.features(512)
    n = len(KINDS)
    assert table["present"].to_pylist() == [True] * n + [False, True, False, True]
    found = vectors(tmp_path / "here")
    assert not found[[n, n + 2]].any()
    assert (found[0] == found[n + 3]).all()  # the same content
    about = meta(tmp_path / "here")
    assert len(str(about.pop("weights_sha256"))) == 64
    assert about == {
        "modality": "visual",
        "label": "ResNet-18 (random weights)",
        "model": "resnet18:avgpool",
        "precision": "fp32",
        "weights": "random",
        "dimension": 512,
        "items": n + 4,
        "present": n + 2,
    }
    assert other_process("test_visual_stage", "run", tmp_path / "there").returncode == 0
    same_tables(tmp_path / "here", tmp_path / "there")


def test_regions_are_written_beside_the_same_vectors(tmp_path: Path) -> None:
    data = [jpeg(1), None, jpeg(2), jpeg(1)]
    stage(tmp_path / "plain", data, RANDOM)
    with_regions = RANDOM.model_copy(update={"regions": True})
    for name in ("regions", "again"):
        stage(tmp_path / name, data, with_regions)
    plain, found, again = (
        content(tmp_path / name / "out") for name in ("plain", "regions", "again")
    )
    assert found == again
    assert {**plain, "regions.npy": found["regions.npy"]} == found
    maps = feature_table.regions(tmp_path / "regions" / "out")
    assert maps is not None
    assert maps.shape == (4, 7, 7, 512)
    assert maps.dtype == np.float16
    assert not maps[1].any()
    assert (maps[0] == maps[3]).all()
    # ResNet's vector is the mean of its map; the table has random weights' vectors centred.
    means = maps[[0, 2]].reshape(2, 49, 512).mean(axis=1, dtype=np.float32)
    assert visual.centred(means) == pytest.approx(vectors(tmp_path / "regions")[[0, 2]], abs=1e-3)


def test_the_fit_of_a_picture_is_part_of_the_cache_s_key(tmp_path: Path) -> None:
    data = [jpeg(1), jpeg(2), None]
    for name, fit, rows in (
        ("pad", "pad", {"embedded": 2, "reused": 0}),
        ("again", "pad", {"embedded": 0, "reused": 2}),
        ("crop", "crop", {"embedded": 2, "reused": 0}),
    ):
        config = VisualConfig(backbone="resnet18", weights="random", fit=fit)
        assert stage(tmp_path / name, data, config, tmp_path / "cache")["rows"] == rows
    pad, again, crop = (content(tmp_path / name / "out") for name in ("pad", "again", "crop"))
    assert pad == again
    assert pad["features.parquet"] != crop["features.parquet"]


def test_no_picture_no_regions(tmp_path: Path) -> None:
    stage(tmp_path, [None], RANDOM.model_copy(update={"regions": True}))
    assert feature_table.regions(tmp_path / "out") is None


def test_a_vector_does_not_depend_on_the_other_pictures(tmp_path: Path) -> None:
    paths = []
    for seed in range(5):
        paths.append(tmp_path / f"{seed}.jpg")
        paths[-1].write_bytes(jpeg(seed))
    network = networks.load(RANDOM)
    together = embedded(network, paths, 4)
    alone = embedded(network, paths[3:4], 4)
    backwards = embedded(network, paths[::-1], 4)
    assert together[3].tobytes() == alone[0].tobytes()
    assert together.tobytes() == backwards[::-1].tobytes()


def test_no_picture_needs_no_weights(tmp_path: Path) -> None:
    absent = VisualConfig(backbone="vgg16", weights_path=tmp_path / "absent.pth")
    stage(tmp_path, [None, None], absent)
    assert vectors(tmp_path).shape == (2, 4096)
    assert not vectors(tmp_path).any()
    about = meta(tmp_path)
    assert about["present"] == 0
    assert about["weights_sha256"] is None
    assert about["label"] == "VGG16 (weights from file)"


def test_weights_from_a_file_are_named_by_their_digest(tmp_path: Path) -> None:
    with DrawFrom(torch.Generator().manual_seed(7)):
        torch.save(get_model("resnet18").state_dict(), tmp_path / "mine.pth")
    config = VisualConfig(
        backbone="resnet18",
        weights_path=tmp_path / "mine.pth",
        batch_size=2,
        precision="fp32",
    )
    stage(tmp_path, [jpeg(1), jpeg(2)], config)
    about = meta(tmp_path)
    short = str(about["weights_sha256"])[:8]
    assert about["label"] == f"ResNet-18 (weights from file {short})"
    assert "mine" not in json.dumps(about)
    network = networks.load(config)
    files = stored_files(tmp_path / "images")
    hashes = [sha256(jpeg(seed)).hexdigest() for seed in (1, 2)]
    expected = embedded(network, [files[name] for name in hashes], 2)
    assert vectors(tmp_path) == pytest.approx(expected)  # as they are: not centred


def test_weights_that_overflow(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    network = networks.load(RANDOM)
    assert network.module is not None
    with torch.no_grad():
        next(network.module.parameters()).fill_(3e38)
    with pytest.raises(UserError, match="not finite"):
        embedded(network, [tmp_path / "a.jpg"], 1)


def test_centred_by_hand() -> None:
    found = visual.centred(np.array([[3.0, 4.0], [0.0, 2.0]], dtype=np.float32))
    assert found == pytest.approx(np.array([[0.3, -0.1], [-0.3, 0.1]]))
    single = np.array([[3.0, 4.0]], dtype=np.float32)
    assert (visual.centred(single) == single).all()


def test_neighbours_by_random_features_share_their_category(shared_data: Path) -> None:
    """Real photos, few of them: far above chance even without training (see the docs)."""
    folder = shared_data / "images" / "fashion"
    lines = (folder / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()[::27]
    photos = [json.loads(line) for line in lines]
    network = networks.load(RANDOM)
    paths = [folder / photo["image"] for photo in photos]
    found = visual.centred(embedded(network, paths, 8))
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    cosines = unit @ unit.T
    off_diagonal = cosines[~np.eye(len(cosines), dtype=bool)]
    assert off_diagonal.std() > 0.2
    np.fill_diagonal(cosines, -2)
    labels = np.array([photo["category"][0] for photo in photos])
    nearest = labels[np.argsort(-cosines, axis=1)[:, :3]]
    chance = (labels[:, None] == labels).mean()
    assert (nearest == labels[:, None]).mean() > chance + 0.15


def run_many(folder: Path) -> dict[str, Any]:
    """The stage on so many pictures that workers decode them, small ones; its notes."""
    artifact, training = folder / "images", folder / "training"
    if not artifact.exists():
        for path in (artifact, training, folder / "out"):
            path.mkdir(parents=True)
        data = [jpeg(seed) for seed in range(MANY)]
        pictures = [check(each, 10**6, 10**6) for each in data]
        for picture, each in zip(pictures, data, strict=True):
            PictureStore(artifact).add(picture, each)
        images.write(pictures, artifact)
        module, _ = backbones.build(backbones.find("resnet18", None), RANDOM)
        save_file(module.network.state_dict(), training / backbones.TRAINED)
    small = {"weights": "simsiam", "training": {"size": 32}, "batch_size": 8}
    visual_config = {"backbone": "resnet18", "precision": "fp32", **small}
    context = StageContext(
        PipelineConfig.model_validate({"features": {"visual": visual_config}}),
        {"images": artifact, "visual_training": training},
        folder / "out",
        folder / "scratch",
        stage_cache=folder / "kept",
    )
    visual.run(context)
    return context.notes


def die(folder: Path) -> None:
    """Run by another process: killed when it has kept three shards, its workers at work."""
    die_after_three_shards(SHARD)
    run_many(folder)


@pytest.mark.usefixtures("one_thread")
def test_a_run_after_a_kill_writes_the_same_bytes_as_one_without(tmp_path: Path) -> None:
    assert (
        other_process("test_visual_stage", "die", tmp_path / "killed").returncode == -signal.SIGKILL
    )
    kept = [path.suffix for path in (tmp_path / "killed" / "kept").glob("*/*")]
    assert kept == [".parquet"] * 3
    rows = run_many(tmp_path / "killed")["rows"]
    assert rows == {"embedded": MANY - 3 * SHARD, "reused": 3 * SHARD}
    assert run_many(tmp_path / "calm")["rows"] == {"embedded": MANY, "reused": 0}
    same_tables(tmp_path / "killed", tmp_path / "calm")
