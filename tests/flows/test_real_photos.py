"""A run over real photos and their titles, by the command, as a user makes it.

The photos come half from a folder, half from a web server on this machine. Nobody bought them: the
interactions are synthetic, each item's six users buy what lies next to it.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import COMMAND, environment
from PIL import Image

from brmrs.columns import ASIN
from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.features import feature_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

BASKET = 6  # items of a user: all survive the 5-core
NEIGHBOURS = 10


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> Path:
    folder = shared_data / "images" / "fashion"
    if not folder.is_dir():
        pytest.skip(f"no photos at {folder}")
    return folder


@pytest.fixture(scope="module")
def catalogue(photos: Path) -> list[dict[str, Any]]:
    """Sorted by category: neighbours in it are alike."""
    lines = (photos / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda item: (item["category"], item["id"]))


@pytest.fixture(scope="module")
def web(photos: Path) -> Iterator[str]:
    handler = partial(_Quiet, directory=str(photos))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_dump(folder: Path, catalogue: list[dict[str, Any]], web: str) -> None:
    """A dump of the 2023 generation; every second item has its picture on the web alone."""
    folder.mkdir()
    ids = [item["id"] for item in catalogue]
    reviews = [
        {
            "user_id": f"U{user}",
            "parent_asin": ids[(user + place) % len(ids)],
            "rating": 5.0,
            "timestamp": 1_600_000_000_000 + place,
        }
        for user in range(len(ids))
        for place in range(BASKET)
    ]
    items = [
        {
            "parent_asin": item["id"],
            "title": item["title"],
            "images": [{"large": f"{web}/{item['image']}"}] if place % 2 else [],
        }
        for place, item in enumerate(catalogue)
    ]
    write_lines(folder / "reviews.jsonl", reviews)
    write_lines(folder / "metadata.jsonl", items)


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    photos: Path,
    catalogue: list[dict[str, Any]],
    web: str,
) -> Path:
    """A folder with a dump, half the pictures and a configuration."""
    folder = tmp_path_factory.mktemp("photos") / "project"
    folder.mkdir()
    write_dump(folder / "dump", catalogue, web)
    (folder / "pictures").mkdir()
    for item in catalogue[::2]:
        (folder / "pictures" / f"{item['id']}.jpg").symlink_to(photos / item["image"])
    backbone = {"backbone": "mobilenet_v3_small", "layer": "avgpool", "weights": "random"}
    values = {
        "name": "photos",
        "ingest": {"reviews": "dump/reviews.jsonl", "metadata": "dump/metadata.jsonl"},
        "images": {"folder": "pictures", "allow_private": True, "rate": 1000},
        "features": {"visual": backbone},
        "model": {"name": "br-mrs", "dim": 8},
        "train": {"epochs": 1},
    }
    config: PipelineConfig = parse(values, "photos")
    (folder / "photos.yaml").write_text(config.to_yaml(), encoding="utf-8")
    return folder


def run(project: Path, store: str, *arguments: str) -> dict[str, Any]:
    """The summary of `brmrs run` into a store."""
    artifacts = ["--artifacts", str(project / store)]
    done = subprocess.run(
        [*COMMAND, "run", "-c", "photos.yaml", *artifacts, "--json", "-", *arguments],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.fixture(scope="module")
def summary(project: Path) -> dict[str, Any]:
    return run(project, "artifacts")


def stages(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in summary["stages"]}


def folder(summary: dict[str, Any], name: str) -> Path:
    return Path(stages(summary)[name]["path"])


def digests(summary: dict[str, Any]) -> dict[str, str]:
    return {name: stage["digest"] for name, stage in stages(summary).items()}


def precision(vectors: np.ndarray, labels: np.ndarray) -> float:
    """The share of the nearest neighbours by cosine that have an item's label."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
    return float((labels[nearest] == labels[:, None]).mean())


def test_every_item_has_both_vectors_and_they_tell_categories(
    summary: dict[str, Any], catalogue: list[dict[str, Any]]
) -> None:
    asins = pq.read_table(folder(summary, "ingest") / "items.parquet")[ASIN].to_pylist()
    assert sorted(asins) == sorted(item["id"] for item in catalogue)
    assert len(asins) == 1080
    categories = {item["id"]: "/".join(item["category"]) for item in catalogue}
    labels = np.array([categories[asin] for asin in asins])
    found = {}
    for name in ("text_features", "visual_features"):
        vectors, present = feature_table.read(folder(summary, name) / feature_table.FILE)
        assert present.all()
        assert np.isfinite(vectors).all()
        assert vectors.any(axis=1).all()
        assert stages(summary)[name]["rows"]["reused"] == 0
        found[name] = precision(vectors, labels)
    assert found["text_features"] > 0.8  # docs/visual-weights.md: .875; by chance .11
    assert found["visual_features"] > 0.4  # random weights


def test_photos_from_folder_and_web_are_all_taken_grey_ones_too(
    summary: dict[str, Any], catalogue: list[dict[str, Any]], photos: Path, web: str
) -> None:
    images = pq.read_table(folder(summary, "images") / "images.parquet").to_pylist()
    assert {row["status"] for row in images} == {"ok"}
    sources = {row["source"].rpartition("/")[2]: row["source"] for row in images}
    grey = {0: 0, 1: 0}
    for place, item in enumerate(catalogue):
        assert sources[item["image"]].startswith(web) == bool(place % 2)
        with Image.open(photos / item["image"]) as photo:
            grey[place % 2] += photo.mode == "L"
    assert min(grey.values()) > 0


def test_the_report_tells_coverage_and_what_made_the_vectors(
    summary: dict[str, Any],
) -> None:
    page = (folder(summary, "report") / "report.html").read_text(encoding="utf-8")
    for label in ("all-MiniLM-L6-v2", "mobilenet_v3_small (random weights)"):
        (row,) = [line for line in page.splitlines() if f"<td>{label}</td>" in line]
        assert ">1,080</data>" in row
        assert row.count(">100.0 %</data>") == 3  # of items, interactions, test interactions
    for share in summary["coverage"].values():
        assert (share["items"], share["interactions"]) == (1.0, 1.0)


def test_another_store_gets_the_same_bytes(project: Path, summary: dict[str, Any]) -> None:
    assert digests(run(project, "other")) == digests(summary)


def test_of_one_percent_changed_titles_one_percent_is_embedded(
    project: Path, summary: dict[str, Any], catalogue: list[dict[str, Any]], web: str
) -> None:
    changed = [
        {**item, "title": f"{item['title']} (2026)"} if place % 100 == 7 else item
        for place, item in enumerate(catalogue)
    ]
    write_dump(project / "changed", changed, web)
    words = ("--set", "ingest.metadata=changed/metadata.jsonl", "--until")
    kept = run(project, "artifacts", *words, "graphs")
    fresh = run(project, "fresh", *words, "text_features")
    rows = stages(kept)["text_features"]["rows"]
    assert rows["embedded"] == 11
    assert stages(fresh)["text_features"]["rows"] == {"embedded": sum(rows.values()), "reused": 0}
    assert stages(kept)["visual_features"]["state"] == "cached"
    assert digests(fresh).items() <= digests(kept).items()
