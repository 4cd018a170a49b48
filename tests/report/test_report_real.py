"""The report over real titles, ratings and posters: no empty section, no misleading tile."""

import base64
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from browsing import visiting
from PIL import Image
from recomputed_report import numbers
from report_numbers import Numbers, wrong
from whole_pipeline import Pipeline

from brmrs.config.load import parse
from brmrs.images.decode import to_rgb
from brmrs.report.stage import REPORT
from brmrs.store.artifacts import ArtifactStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folders(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run over films with titles, of which about a quarter has a poster."""
    dump = shared_data / "raw" / "ml100k_posters"
    if not dump.is_dir():
        pytest.skip(f"no posters at {dump}")
    values = {
        "name": "films",
        "ingest": {
            "reviews": dump / "Movies.jsonl.gz",
            "metadata": dump / "meta_Movies.jsonl.gz",
            "min_rating": 4,
        },
        "images": {"folder": dump / "images", "fetch": False},
        "features": {
            "visual": {"backbone": "mobilenet_v3_small", "layer": "avgpool", "weights": "random"}
        },
        "model": {"name": "br-mrs", "dim": 8},
        "train": {"epochs": 2},
    }
    store = ArtifactStore(tmp_path_factory.mktemp("films"))
    _, artifacts = Pipeline(store).run(parse(values, "films"))
    return {name: store.path(artifact) for name, artifact in artifacts.items()}


@pytest.fixture(scope="module")
def page(folders: dict[str, Path]) -> str:
    return (folders["report"] / REPORT).read_text(encoding="utf-8")


def test_no_section_is_empty(page: str) -> None:
    sections = re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.DOTALL)
    assert len(sections) == 10
    for name, body in sections:
        text = re.sub(r"<script.*?</script>|<svg.*?</svg>|<[^>]+>", " ", body, flags=re.DOTALL)
        assert len(text.split()) > 20, name
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert len(captions) > 12
    assert all(re.sub(r"<[^>]+>", "", caption).strip() for caption in captions)
    assert len(page) < 5_000_000


def test_every_tile_shows_its_own_item(
    folders: dict[str, Path], page: str, browser: Any, shared_data: Path
) -> None:
    """Its title; its own poster if it has one, else a text tile."""
    dump = shared_data / "raw" / "ml100k_posters" / "images"
    items = pq.read_table(folders["ingest"] / "items.parquet").to_pylist()
    often = Counter(row["title"] for row in items)
    titles = {row["title"]: row["asin"] for row in items if often[row["title"]] == 1}
    file = folders["report"] / REPORT
    with visiting(browser, file.as_uri()) as visit:
        visit.tab.goto(file.as_uri())
        tiles = visit.tab.locator(".tile").evaluate_all(
            "all => all.map(x => [x.querySelector('.title').textContent,"
            " x.querySelector('img')?.src ?? '', x.classList.contains('bare'),"
            " x.querySelector('img')?.naturalWidth ?? 0, x.offsetHeight])"
        )
    assert len(tiles) > 60
    assert {bool(picture) for _, picture, *_ in tiles} == {True, False}
    for title, picture, bare, width, height in tiles:
        if title not in titles:  # two films of that name
            continue
        poster = dump / f"{titles[title]}.jpg"
        assert bool(picture) == poster.is_file() == (not bare), title
        assert height > 60
        if picture:
            assert width > 0
            shown = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
            own = to_rgb(poster.read_bytes()).resize(shown.size)
            assert np.abs(np.asarray(shown, float) - np.asarray(own, float)).mean() < 20


def test_every_number_is_recomputed(folders: dict[str, Path], page: str) -> None:
    expected = numbers(folders, k=20, cut_offs=(5, 10, 20))
    found = Numbers(page).found
    assert not {fault for key, value, _ in found if (fault := wrong(key, value, expected))}
