import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from brmrs import columns
from brmrs.config.data import IngestConfig
from brmrs.config.load import load
from brmrs.config.shipped import shipped_configs
from brmrs.errors import UserError
from brmrs.ingest.stage import Ingested, ingest
from brmrs.sample.latent import KINDS, draw_world
from brmrs.sample.pictures import SHAPES
from brmrs.sample.text import KINDS as KIND_NAMES
from brmrs.sample.write import write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "dump"
    write_sample(folder)
    return folder


@pytest.fixture(scope="module")
def ingested(sample: Path) -> Ingested:
    return ingest(
        IngestConfig(reviews=(sample / "reviews.jsonl.gz",), metadata=(sample / "meta.jsonl.gz",))
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_core_has_the_size_asked_for(ingested: Ingested) -> None:
    sizes = ingested.statistics
    assert 1450 <= sizes["users"] <= 1510
    assert 480 <= sizes["items"] <= 510
    assert 9_000 <= sizes["interactions"] <= 12_000


def test_it_holds_what_real_dumps_hold(sample: Path, ingested: Ingested) -> None:
    statistics = ingested.statistics
    assert statistics["reviews"]["generations"].keys() == {"2023"}
    assert sum(statistics["reviews"]["quarantined"].values()) == 6
    assert len(statistics["reviews"]["quarantined"]) == 4
    assert statistics["metadata"]["quarantined"] == {"no item id": 1}
    assert statistics["reviews"]["duplicates"] > 100
    assert statistics["before_k_core"]["users"] > statistics["users"] + 40
    assert statistics["metadata"]["never_reviewed"] >= 15
    items, have = statistics["items"], statistics["items_with"]
    assert items - have["text"] == items - have["title"] == 3  # the fourth is below the 5-core
    assert 0.9 * items < have["description"] < 0.98 * items
    pictures = {path.stem for path in (sample / "images").iterdir()}
    assert 0.9 * items < len(pictures & set(ingested.asins)) < 0.98 * items


def test_the_truth_covers_every_user_item_and_interaction(sample: Path, ingested: Ingested) -> None:
    truth = {
        name: pq.read_table(sample / "truth" / f"{name}.parquet")
        for name in ("users", "items", "interactions")
    }
    assert truth["users"].schema.equals(columns.TRUTH_USERS)
    assert truth["items"].schema.equals(columns.TRUTH_ITEMS)
    assert truth["interactions"].schema.equals(columns.TRUTH_INTERACTIONS)
    known = truth["interactions"].to_pydict()
    pairs = set(zip(known["user_id"], known["asin"], strict=True))
    found = ingested.interactions
    mine = [
        (ingested.user_ids[user], ingested.asins[item])
        for user, item in zip(found.user.tolist(), found.item.tolist(), strict=True)
    ]
    # The few others are of users below the core that one item or another lifts into it.
    assert sum(pair in pairs for pair in mine) > 0.99 * len(mine)
    shares = [count / len(known["type"]) for count in Counter(known["type"]).values()]
    assert set(known["type"]) == {*columns.PARTS, columns.NO_PART}
    assert min(shares) > 0.12


def test_popularity_does_not_dominate(ingested: Ingested) -> None:
    counts = np.sort(np.bincount(ingested.interactions.item))[::-1]
    tenth = len(counts) // 10
    assert 0.12 < counts[:tenth].sum() / counts.sum() < 0.25


def test_the_halves_of_the_additive_part_are_complementary() -> None:
    world = draw_world(np.random.default_rng(0), 20, 30)
    both = np.vstack([world.text_half, world.visual_half])
    assert np.allclose(both @ both.T, np.eye(4))
    assert world.text_half.shape == world.visual_half.shape == (2, 4)
    assert KINDS == len(KIND_NAMES) == len(SHAPES)


def explained(shown: NDArray[np.float64], latent: NDArray[np.float64]) -> float:
    """Share of the latents' variance that a ridge regression finds in half of the items."""
    shown = (shown - shown.mean(axis=0)) / (shown.std(axis=0) + 1e-9)
    train = np.arange(len(shown)) % 2 == 0
    gram = shown[train].T @ shown[train] + 30 * np.eye(shown.shape[1])
    fit = np.linalg.solve(gram, shown[train].T @ latent[train])
    rest = latent[~train] - shown[~train] @ fit
    return float(1 - (rest**2).sum() / (latent[~train] ** 2).sum())


def test_words_and_pictures_each_show_their_own_part(sample: Path, ingested: Ingested) -> None:
    truth = pq.read_table(sample / "truth" / "items.parquet").to_pydict()
    position = {asin: index for index, asin in enumerate(truth["asin"])}
    shown = [
        (position[asin], item)
        for asin, item in zip(ingested.asins, ingested.items, strict=True)
        if item.description and (sample / "images" / f"{asin}.jpg").exists()
    ]
    texts = [item.description.split() for _, item in shown]
    vocabulary = sorted({word for text in texts for word in text})
    words = np.array([[text.count(word) for word in vocabulary] for text in texts], dtype=float)
    pixels = np.array([thumbnail(sample, truth["asin"][row]) for row, _ in shown])
    latent = {name: np.array([truth[name][row] for row, _ in shown]) for name in columns.PARTS}
    assert explained(words, latent["text_unique"]) > 0.7
    assert explained(words, latent["visual_unique"]) < 0.05
    assert explained(pixels, latent["visual_unique"]) > 0.4
    assert explained(pixels, latent["text_unique"]) < 0.05
    assert explained(pixels, latent["redundant"]) > 0.6  # a chequered shelf is half white
    parameters = json.loads((sample / "truth" / "parameters.json").read_text())
    assert explained(words, latent["additive"] @ np.array(parameters["A"]).T) > 0.7
    assert explained(words, latent["additive"] @ np.array(parameters["B"]).T) < 0.05
    signs = {
        name: np.array([truth[name][row] for row, _ in shown])
        for name in (columns.TEXT_SIGNS, columns.VISUAL_SIGNS)
    }
    assert (signs[columns.TEXT_SIGNS] * signs[columns.VISUAL_SIGNS] == latent["synergy"]).all()
    assert explained(words, signs[columns.TEXT_SIGNS]) > 0.9
    assert explained(pixels, signs[columns.VISUAL_SIGNS]) > 0.5
    assert explained(words, signs[columns.VISUAL_SIGNS]) < 0.05
    assert explained(pixels, signs[columns.TEXT_SIGNS]) < 0.05
    for one in (words, pixels, np.hstack([words, pixels])):  # an exclusive-or
        assert explained(one, latent["synergy"]) < 0.05


def thumbnail(sample: Path, asin: str) -> NDArray[np.float64]:
    with Image.open(sample / "images" / f"{asin}.jpg") as picture:
        assert picture.format == "JPEG"
        assert picture.size == (224, 224)
        small = picture.resize((4, 4), Image.Resampling.BOX)
        return np.asarray(small, dtype=float).ravel()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        write_sample(tmp_path / name, seed=seed, users=40, items=30)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_the_same_sample_is_not_written_again(sample: Path) -> None:
    before = (sample / "reviews.jsonl.gz").stat()
    write_sample(sample)
    assert (sample / "reviews.jsonl.gz").stat() == before


def test_another_or_an_incomplete_sample_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "sample"
    write_sample(folder, users=40, items=30)
    whole = contents(folder)
    shutil.rmtree(folder / "truth")
    write_sample(folder, users=40, items=30)
    assert contents(folder) == whole
    write_sample(folder, seed=1, users=40, items=30)
    assert contents(folder) != whole
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["sample"]


def test_nothing_remains_of_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("brmrs.sample.write._write_reviews", fail)
    with pytest.raises(UserError, match="No space left on device; choose another folder"):
        write_sample(tmp_path / "sample", users=40, items=30)
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="holds something other than a sample dump"):
        write_sample(tmp_path)
    with pytest.raises(UserError, match="choose another folder"):
        write_sample(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write_sample(tmp_path, users=40, items=30)
    assert (tmp_path / "truth" / "items.parquet").exists()


def test_the_readme_asks_for_a_user_and_an_item_that_are_there(ingested: Ingested) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    users = set(re.findall(r"\bA[A-Z0-9]{27}\b", readme))
    items = set(re.findall(r"\bB0[A-Z0-9]{8}\b", readme))
    assert users
    assert users <= set(ingested.user_ids)
    assert items
    assert items <= set(ingested.asins)


def test_its_configuration_is_the_shipped_one_over_this_folder(sample: Path) -> None:
    config, shipped = load(sample / "config.yaml"), load(shipped_configs() / "sample.yaml")
    assert config.ingest.reviews == (sample / "reviews.jsonl.gz",)
    assert config.ingest.metadata == (sample / "meta.jsonl.gz",)
    assert config.images.folder == sample / "images"
    assert config.diagnosis.truth == sample / "truth"
    same = {"ingest": config.ingest, "images": config.images, "diagnosis": config.diagnosis}
    assert config == shipped.model_copy(update=same)


def test_the_configuration_has_no_path_of_the_machine(sample: Path) -> None:
    text = (sample / "config.yaml").read_text()
    assert "data/sample" not in text
    assert str(sample) not in text
