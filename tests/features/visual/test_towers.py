import json
from pathlib import Path

import pytest
import torch
from pictures import jpeg
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

from brmrs.config.features import VisualConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features.catalogue.text import packaged_model_folder
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import network as networks
from brmrs.features.visual import towers
from brmrs.store.fingerprint import fingerprint

TINY = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of a few thousand random weights, as transformers saves one."""
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    config = CLIPConfig(
        text_config={**TINY, "vocab_size": 2, "max_position_embeddings": 8},
        vision_config={**TINY, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    words = CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[])
    pictures = CLIPImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pictures, words).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


def test_vectors_equal_those_of_the_model_s_encode(clip: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.jpg" for seed in range(5)]
    for seed, path in enumerate(paths):
        path.write_bytes(jpeg(seed))
    network = networks.load(VisualConfig(backbone=str(clip)))
    assert network.module is not None
    found = visual_encoder.embed_all(network.module, network.preprocessing, paths, 2)
    model = SentenceTransformer(str(clip), device="cpu")
    # The model's own preprocessing rounds otherwise, by one of 255 levels.
    expected = model.encode([Image.open(path) for path in paths], show_progress_bar=False)
    assert found == pytest.approx(expected, abs=0.05)
    assert network.dimension == 8
    assert (network.about.label, network.about.weights) == ("tiny-clip", "pretrained")


def test_its_files_are_in_the_fingerprint(clip: Path) -> None:
    config = PipelineConfig.model_validate({"features": {"visual": {"backbone": str(clip)}}})
    files = fingerprint(config, ["visual_weights"])["visual_weights"]["files"]
    assert "model.safetensors" in [file["name"] for file in files]


def test_a_model_of_texts_only_is_refused() -> None:
    with pytest.raises(UserError, match=r"features\.visual\.backbone.*takes no pictures"):
        towers.find(str(packaged_model_folder()))


def test_a_model_that_needs_another_preprocessing(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((tmp_path / "processor_config.json").read_text())
    settings["image_processor"]["do_center_crop"] = False
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="needs another preprocessing"):
        towers.find(str(tmp_path))


@pytest.mark.parametrize("other", [{"weights": "random"}, {"layer": "vision_model"}])
def test_it_has_its_own_weights_and_layer(other: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="weights=pretrained"):
        VisualConfig.model_validate({"backbone": "openai/clip", **other})
