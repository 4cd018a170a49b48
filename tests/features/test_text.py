import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer

from brmrs import columns
from brmrs.config import PipelineConfig
from brmrs.errors import UserError
from brmrs.features import table, text, text_encoder
from brmrs.features.precision import has_bf16
from brmrs.features.text_encoder import embed_all
from brmrs.stages import StageContext
from brmrs.text_model import WEIGHTS, packaged_model_folder

TEXTS = [
    "black leather shoe for men",
    "dark leather footwear, men",
    "birthday gift card",
    "a",
    "stainless steel kitchen knife " * 8,
    "stainless steel kitchen knife " * 60,
    "日本語のテキスト \U0001f600",
]
ITEMS = [
    ("Black leather shoe", "Acme", ["Shoes"], "For men."),
    ("", "", [], ""),
    ("Birthday gift card", "", ["Gift cards", ""], ""),
    ("Black leather shoe", "Acme", ["Shoes"], "For men."),
    (" ", "\t", [""], "\n"),
]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return text_encoder.load("all-MiniLM-L6-v2")


def write_items(path: Path) -> None:
    rows = [
        {
            "item": row,
            "asin": str(row),
            "title": title,
            "brand": brand,
            "categories": categories,
            "description": description,
            "image_urls": [],
        }
        for row, (title, brand, categories, description) in enumerate(ITEMS)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=columns.ITEMS), path)


def run(folder: Path) -> None:
    """The stage on `ITEMS`, into folder/out; also run by a second process."""
    (folder / "out").mkdir(parents=True)
    write_items(folder / "items.parquet")
    text.run(
        StageContext(
            config=PipelineConfig(),
            inputs={"ingest/items.parquet": folder / "items.parquet"},
            out=folder / "out",
            scratch=folder / "scratch",
        )
    )


def test_the_stage(tmp_path: Path) -> None:
    run(tmp_path)
    found = pq.read_table(tmp_path / "out" / "features.parquet")
    assert found.schema == columns.features(384)
    assert found["item"].to_pylist() == [0, 1, 2, 3, 4]
    assert found["present"].to_pylist() == [True, False, True, True, False]
    vectors = np.array(found["vector"].to_pylist(), dtype=np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1, 1, 0], abs=1e-6)
    assert (vectors[0] == vectors[3]).all()
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert len(meta.pop("weights_sha256")) == 64
    assert meta == {
        "modality": "text",
        "label": "all-MiniLM-L6-v2",
        "model": "all-MiniLM-L6-v2",
        "weights": "packaged",
        "dimension": 384,
        "items": 5,
        "present": 3,
        "precision": "bf16" if has_bf16() else "fp32",
    }


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "here")
    code = "import sys, pathlib, test_text; test_text.run(pathlib.Path(sys.argv[1]))"
    search = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there")],
        env=search,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Loading" not in done.stderr  # no bars of the library
    for name in ("features.parquet", "meta.json"):
        here, there = (tmp_path / place / "out" / name for place in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()


def test_the_vectors_are_the_model_s_own(model: SentenceTransformer) -> None:
    found = embed_all(model, TEXTS, 2)
    expected = model.encode(TEXTS, show_progress_bar=False)
    assert found == pytest.approx(expected, abs=1e-5)


def test_alike_texts_are_near(model: SentenceTransformer) -> None:
    shoe, footwear, card = embed_all(model, TEXTS[:3], 4)
    assert shoe @ footwear > 0.7 > 0.3 > shoe @ card


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_text_has_the_same_bytes_whatever_the_others(
    model: SentenceTransformer, batch_size: int
) -> None:
    together = embed_all(model, TEXTS, batch_size)
    alone = [embed_all(model, [each], batch_size)[0] for each in TEXTS]
    backwards = embed_all(model, TEXTS[::-1], batch_size)[::-1]
    for row, each in enumerate(TEXTS):
        assert together[row].tobytes() == alone[row].tobytes(), each
        assert together[row].tobytes() == backwards[row].tobytes(), each


def test_nothing_to_embed(model: SentenceTransformer) -> None:
    assert embed_all(model, [], 8).shape == (0, 384)


def test_the_global_generator_is_left_alone(model: SentenceTransformer) -> None:
    before = torch.random.get_rng_state()
    embed_all(model, TEXTS[:2], 2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_model_in_a_folder(model: SentenceTransformer, tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    model.save(str(folder))
    again = text_encoder.load(str(folder))
    assert embed_all(again, TEXTS[:2], 8).tobytes() == embed_all(model, TEXTS[:2], 8).tobytes()
    assert table.digest(again.state_dict()) == table.digest(model.state_dict())


@pytest.mark.parametrize("content", [{}, {"config.json": "{}"}, {"config.json": "no json"}])
def test_a_folder_that_holds_no_model(content: dict[str, str], tmp_path: Path) -> None:
    for name, written in content.items():
        (tmp_path / name).write_text(written)
    with pytest.raises(UserError, match=r"features\.text\.model") as caught:
        text_encoder.load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_damaged_weights(tmp_path: Path) -> None:
    for path in packaged_model_folder().rglob("*"):
        if path.is_file() and path.name != WEIGHTS:
            target = tmp_path / path.relative_to(packaged_model_folder())
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / WEIGHTS).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}nonsense")
    with pytest.raises(UserError, match=r"features\.text\.model"):
        text_encoder.load(str(tmp_path))


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", no_network)
    with pytest.raises(UserError, match=r"nobody/no-model.*give a folder"):
        text_encoder.load("nobody/no-model")


def test_categories_are_joined_without_empty_ones() -> None:
    items = pa.table(
        {
            "title": ["x"],
            "brand": [""],
            "description": [""],
            "categories": pa.array([["a", "", "b"]]),
        }
    )
    assert text.render(items, "{categories}") == ["a, b"]
