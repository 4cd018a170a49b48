"""The feature map before the last pooling: which it is, and that nothing else changes with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import jpeg
from torch import Tensor, nn

from brmrs.config.features import VisualConfig
from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features import table
from brmrs.features.precision import in_bf16
from brmrs.features.visual import backbones, regions
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import network as networks
from brmrs.features.visual.pixels import Preprocessing

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
RANDOM = VisualConfig(backbone="resnet18", weights="random", regions=True)


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("vgg16", None, regions.Place("features.30", True, (14, 14, 512))),  # after conv5_3's ReLU
        ("vgg19", None, regions.Place("features.36", True, (14, 14, 512))),
        ("vgg16", "features.30", regions.Place("features.30", False, (7, 7, 512))),
        ("resnet18", None, regions.Place("avgpool", True, (7, 7, 512))),
        ("resnet50", None, regions.Place("avgpool", True, (7, 7, 2048))),
        ("resnet18", "layer3", regions.Place("layer3", False, (14, 14, 256))),
        ("convnext_tiny", None, regions.Place("avgpool", True, (7, 7, 768))),
        ("swin_t", None, regions.Place("avgpool", True, (7, 7, 768))),
    ],
)
def test_where_the_map_is(name: str, layer: str | None, expected: regions.Place) -> None:
    assert regions.find(backbones.find(name, layer)) == expected


def test_smaller_images_have_smaller_maps() -> None:
    place = regions.find(backbones.find("vgg16", None).at(96))
    assert (place.shape, place.size) == ((6, 6, 512), 6 * 6 * 512)


def test_a_backbone_without_a_map() -> None:
    with pytest.raises(UserError, match=r"features\.visual\.regions: vit_b_16 .*vgg16") as error:
        networks.load(VisualConfig(backbone="vit_b_16", weights="random", regions=True))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backbone", ["imported", "sentence-transformers/clip-ViT-B-32"])
def test_towers_and_imported_vectors_have_no_regions(backbone: str) -> None:
    features = {"visual": {"backbone": backbone, "regions": True}}
    with pytest.raises(UserError, match="gives none; name a convolutional backbone"):
        parse({"features": features}, "the test")


def parts(module: nn.Module, images: Tensor = IMAGES) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        vectors, maps = module(images)
    return vectors, maps


def resnet() -> regions.WithRegions:
    module = networks.load(RANDOM).module
    assert isinstance(module, regions.WithRegions)
    return module


def test_a_resnet_s_vector_is_the_mean_of_its_map() -> None:
    vectors, maps = parts(resnet())
    assert maps.shape == (2, 2, 2, 512)
    torch.testing.assert_close(maps.mean(dim=(1, 2)), vectors)
    assert not torch.allclose(maps[:, 0, 0], vectors)


def test_a_layer_that_gives_a_map() -> None:
    config = RANDOM.model_copy(update={"layer": "layer2"})
    module = networks.load(config).module
    assert module is not None
    vectors, maps = parts(module)
    assert maps.shape == (2, 8, 8, 128)
    torch.testing.assert_close(maps.mean(dim=(1, 2)), vectors)


def test_the_vector_of_vgg16_follows_from_its_map() -> None:
    config = VisualConfig(backbone="vgg16", weights="random", regions=True)
    module = networks.load(config).module
    assert isinstance(module, regions.WithRegions)
    vectors, maps = parts(module, IMAGES[:1])
    assert maps.shape == (1, 4, 4, 512)
    network = module.features.network
    layers, pool, head = (network.get_submodule(x) for x in ("features", "avgpool", "classifier"))
    assert isinstance(layers, nn.Sequential)
    assert isinstance(head, nn.Sequential)
    with torch.inference_mode():
        found = layers[:30](IMAGES[:1])
        assert torch.equal(maps.permute(0, 3, 1, 2), found)
        hidden = head[:4](pool(layers[30](found)).flatten(1))
        torch.testing.assert_close(torch.relu(hidden), vectors)


def test_vectors_are_the_same_without_maps() -> None:
    plain, both = networks.load(RANDOM.model_copy(update={"regions": False})).module, resnet()
    assert plain is not None
    with torch.inference_mode():
        assert torch.equal(plain(IMAGES), parts(both)[0])


def test_a_copy_in_bf16_has_its_own_maps() -> None:
    module = resnet()
    fast = in_bf16(module)
    maps, rounded = parts(module)[1], parts(fast, IMAGES.bfloat16())[1]
    assert (maps.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(rounded.float(), maps, rtol=0.1, atol=0.1)


class TooLarge(nn.Module):
    """Vectors that are finite, and a map that float16 cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(len(images), 3), torch.full((len(images), 2, 2, 1), 7e4)


def test_maps_that_overflow(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with pytest.raises(UserError, match="not finite"):
        visual_encoder.embed_all(TooLarge(), Preprocessing(32, 32), [tmp_path / "a.jpg"], 1)


def test_the_file_has_a_row_per_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "BLOCK_BYTES", 2 * 48)  # two maps
    rows = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float16)
    which = np.array([2, -1, 0, 2, 1])
    regions.write(tmp_path, rows, which, (2, 3, 2))
    found = np.load(tmp_path / "regions.npy")
    assert (found.dtype, found.shape) == (np.float16, (5, 2, 3, 2))
    assert (found[[0, 2, 3, 4]] == rows[[2, 0, 2, 1]].reshape(4, 2, 3, 2)).all()
    assert not found[1].any()


def test_regions_are_off_by_default() -> None:
    assert not PipelineConfig().features.visual.regions
