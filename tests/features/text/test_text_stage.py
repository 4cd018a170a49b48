import gzip
import itertools
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer
from stage_runs import die_after_three_shards, other_process, same_tables

from brmrs import columns
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features import feature_table, loading, precision, table
from brmrs.features.catalogue.text import WEIGHTS, packaged_model_folder
from brmrs.features.text import stage as text
from brmrs.features.text.encoder import embed_all
from brmrs.stages import STAGE_CACHE, StageContext

TEXTS = [
    "black leather shoe for men",
    "dark leather footwear, men",
    "birthday gift card",
    "a",
    "stainless steel kitchen knife " * 8,
    "stainless steel kitchen knife " * 60,
    "日本語のテキスト \U0001f600",
]
Item = tuple[str, str, list[str], str]
ITEMS: list[Item] = [
    ("Black leather shoe", "Acme", ["Shoes"], "For men."),
    ("", "", [], ""),
    ("Birthday gift card", "", ["Gift cards", ""], ""),
    ("Black leather shoe", "Acme", ["Shoes"], "For men."),
    (" ", "\t", [""], "\n"),
]
MANY = [(f"A mug for {number} kinds of tea", "", [""], "") for number in range(9)]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return loading.load("all-MiniLM-L6-v2")


def write_items(path: Path, items: Sequence[Item]) -> None:
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
        for row, (title, brand, categories, description) in enumerate(items)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=columns.ITEMS), path)


def run(
    folder: Path, items: Sequence[Item] = ITEMS, model: str | list[str] = "all-MiniLM-L6-v2"
) -> dict[str, Any]:
    """The stage, into folder/out; its notes. Also run by a second process."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    write_items(folder / "items.parquet", items)
    context = StageContext(
        config=PipelineConfig.model_validate({"features": {"text": {"model": model}}}),
        inputs={"ingest/items.parquet": folder / "items.parquet"},
        out=folder / "out",
        scratch=folder / "scratch",
        stage_cache=folder / "kept",
    )
    text.run(context)
    return context.notes


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
        "precision": "bf16" if precision.has_bf16() else "fp32",
    }


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "here")
    done = other_process("test_text_stage", "run", tmp_path / "there")
    assert done.returncode == 0
    assert "Loading" not in done.stderr  # no bars of the library
    same_tables(tmp_path / "here", tmp_path / "there")


def test_the_vectors_are_the_model_s_own(model: SentenceTransformer) -> None:
    found = embed_all(model, TEXTS, 2)
    expected = model.encode(TEXTS, show_progress_bar=False)
    assert found == pytest.approx(expected, abs=1e-5)


def test_similar_texts_have_similar_vectors(model: SentenceTransformer) -> None:
    shoe, footwear, card = embed_all(model, TEXTS[:3], 4)
    assert shoe @ footwear > 0.7 > 0.3 > shoe @ card


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_vector_does_not_depend_on_the_other_texts(
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
    again = loading.load(str(folder))
    assert embed_all(again, TEXTS[:2], 8).tobytes() == embed_all(model, TEXTS[:2], 8).tobytes()
    assert table.digest(again.state_dict()) == table.digest(model.state_dict())


@pytest.mark.parametrize("content", [{}, {"config.json": "{}"}, {"config.json": "no json"}])
def test_a_folder_without_a_model_is_refused(content: dict[str, str], tmp_path: Path) -> None:
    for name, written in content.items():
        (tmp_path / name).write_text(written)
    with pytest.raises(UserError, match=r"features\.text\.model") as caught:
        loading.load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_damaged_weights(tmp_path: Path) -> None:
    for path in packaged_model_folder().rglob("*"):
        if path.is_file() and path.name != WEIGHTS:
            target = tmp_path / path.relative_to(packaged_model_folder())
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / WEIGHTS).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}nonsense")
    with pytest.raises(UserError, match=r"features\.text\.model"):
        loading.load(str(tmp_path))


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", no_network)
    with pytest.raises(UserError, match=r"nobody/no-model.*give a folder"):
        loading.load("nobody/no-model")


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


def pieces_by_hand(model: SentenceTransformer, words: str) -> np.ndarray:
    """The mean of the vectors of a text's pieces, cut by hand, of unit length."""
    tokens = model.tokenizer(words, add_special_tokens=False)["input_ids"]
    room = (model.max_seq_length or 0) - 2
    cut = [tokens[start : start + room] for start in range(0, len(tokens), room)]
    vectors = model.encode(
        [model.tokenizer.decode(piece) for piece in cut], show_progress_bar=False
    )
    mean = np.mean(vectors, axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_long_texts_are_cut_or_their_pieces_averaged(model: SentenceTransformer) -> None:
    long = "stainless steel kitchen knife " * 100 + "birthday gift card " * 60
    cut, mean = (embed_all(model, [long, "a knife"], 2, rule) for rule in ("truncate", "mean"))
    assert cut[0] == pytest.approx(model.encode(long, show_progress_bar=False), abs=1e-5)
    assert mean[0] == pytest.approx(pieces_by_hand(model, long), abs=1e-5)
    assert np.array_equal(cut[1], mean[1])  # short texts are one piece
    card = embed_all(model, ["birthday gift card"], 2)[0]
    assert mean[0] @ card > cut[0] @ card + 0.1  # the end of the text counts


def test_the_vector_of_a_long_text_does_not_depend_on_the_other_texts(
    model: SentenceTransformer,
) -> None:
    long = [" ".join(TEXTS[: n + 1] * 9) for n in range(4)]
    together = embed_all(model, [*TEXTS, *long], 2, "mean")[len(TEXTS) :]
    backwards = embed_all(model, long[::-1], 2, "mean")[::-1]
    assert np.array_equal(together, backwards)


def test_bf16_is_as_good_on_every_real_text(model: SentenceTransformer, shared_data: Path) -> None:
    path = shared_data / "raw" / "gift_cards_2018" / "meta_Gift_Cards.json.gz"
    with gzip.open(path) as file:
        items = [json.loads(line) for line in itertools.islice(file, 0, 1500, 60)]
    texts = [f"{item.get('title')}\n{' '.join(item.get('description') or [])}" for item in items]
    fast = precision.in_bf16(model)
    found = precision.cosines(embed_all(model, texts, 8), embed_all(fast, texts, 8))
    assert found.min() >= precision.MIN_COSINE
    again = embed_all(fast, texts[::-1], 8)[::-1]
    assert np.array_equal(again, embed_all(fast, texts, 8))  # fixed shapes serve bf16, too


def test_vectors_of_two_models_are_concatenated(model: SentenceTransformer, tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    scaled = SentenceTransformer(modules=[model[0], model[1]])  # without the normalisation
    scaled.save(str(folder))
    run(tmp_path / "a", model=["all-MiniLM-L6-v2", str(folder)])
    run(tmp_path / "b")
    both, one = (feature_table.read(tmp_path / name / "out" / feature_table.FILE) for name in "ab")
    assert both[0].shape == (len(ITEMS), 768)
    assert np.array_equal(both[1], one[1])
    assert both[0][:, :384] == pytest.approx(one[0], abs=1e-6)
    assert both[0][:, 384:] == pytest.approx(one[0], abs=0.02)  # bf16, normalised by us
    meta = json.loads((tmp_path / "a" / "out" / "meta.json").read_text())
    assert meta["label"] == "all-MiniLM-L6-v2 + twice"
    assert meta["dimension"] == 768


def test_of_one_percent_changed_texts_one_percent_is_embedded(tmp_path: Path) -> None:
    items = [(f"Mug {number}", "", [""], "") for number in range(400)]
    assert run(tmp_path, items)["rows"] == {"embedded": 400, "reused": 0}
    changed = [
        ("New " + item[0], *item[1:]) if n % 100 == 7 else item for n, item in enumerate(items)
    ]
    notes = run(tmp_path, changed)
    assert notes["rows"] == {"embedded": 4, "reused": 396}
    shards = (tmp_path / "kept").glob("*/*")  # garbage collection leaves what the notes name
    assert notes[STAGE_CACHE] == sorted(str(path.relative_to(tmp_path / "kept")) for path in shards)
    assert run(tmp_path / "fresh", changed)["rows"] == {"embedded": 400, "reused": 0}
    same_tables(tmp_path, tmp_path / "fresh")
    assert run(tmp_path, items)["rows"] == {"embedded": 0, "reused": 400}  # back again


def test_another_processor_embeds_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path)["rows"] == {"embedded": 2, "reused": 0}
    monkeypatch.setattr(precision, "processor", lambda: {"device": "another"})
    assert run(tmp_path)["rows"] == {"embedded": 2, "reused": 0}


def die(folder: Path) -> None:
    """Run by another process: killed when it has kept three shards of one row."""
    die_after_three_shards(1)
    run(folder, MANY)


def test_a_run_after_a_kill_writes_the_same_bytes_as_one_without(tmp_path: Path) -> None:
    killed = other_process("test_text_stage", "die", tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL
    assert run(tmp_path / "killed", MANY)["rows"] == {"embedded": len(MANY) - 3, "reused": 3}
    run(tmp_path / "calm", MANY)
    same_tables(tmp_path / "killed", tmp_path / "calm")
