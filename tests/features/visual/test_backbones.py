import threading
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import get_model

from brmrs.config.features import VisualConfig
from brmrs.errors import UserError
from brmrs.features import table
from brmrs.features.visual.backbones import build, find
from brmrs.features.visual.seeded import DrawFrom

RANDOM = VisualConfig(backbone="resnet18", weights="random")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A state dict of ResNet-18 with its classifier."""
    with DrawFrom(torch.Generator().manual_seed(5)):
        network = get_model("resnet18")
    return dict(network.state_dict())


def from_file(path: Path) -> VisualConfig:
    return VisualConfig(backbone="resnet18", weights_path=path)


@pytest.mark.parametrize(
    ("name", "layer", "dimension", "label"),
    [
        ("vgg16", None, 4096, "VGG16"),
        ("vgg16", "features.30", 512, "VGG16"),
        ("resnet18", None, 512, "ResNet-18"),
        ("resnet18", "layer3", 256, "ResNet-18"),
        ("resnet50", None, 2048, "ResNet-50"),
        ("convnext_tiny", None, 768, "ConvNeXt-T"),
        ("vit_b_16", None, 768, "ViT-B/16"),
        ("swin_t", None, 768, "Swin-T"),
        ("efficientnet_b0", "avgpool", 1280, "efficientnet_b0"),
    ],
)
def test_find(name: str, layer: str | None, dimension: int, label: str) -> None:
    found = find(name, layer)
    assert (found.dimension, found.label, found.preprocessing.size) == (
        dimension,
        label,
        224,
    )


@pytest.mark.parametrize(
    ("name", "layer", "fault"),
    [
        ("vgg61", None, r"no 'vgg61'; there are .*vgg16"),
        ("", None, "no ''"),
        ("fasterrcnn_resnet50_fpn", None, "no 'fasterrcnn"),
        ("densenet121", None, "name the layer of densenet121"),
        ("resnet18", "avgpol", "near it: avgpool"),
        ("resnet18", "zzz", "near it: .*avgpool, fc"),
        ("swin_t", "features.7.1.attn.getitem", "no"),
        ("vit_b_32", "encoder.layers.encoder_layer_0.self_attention", "gives no vectors"),
        ("inception_v3", "AuxLogits.fc", "gives no vectors"),
    ],
)
def test_unknown_backbones_and_layers_are_refused(name: str, layer: str | None, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        find(name, layer)


def test_vgg16_gives_the_second_fully_connected_layer_after_its_relu() -> None:
    backbone = find("vgg16", None)
    assert backbone.layer == "classifier.4"
    assert backbone.unused == ("classifier.5", "classifier.6")


@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_random_weights_depend_only_on_the_seed(name: str) -> None:
    backbone = find(name, None)
    before = torch.random.get_rng_state()
    digests = [build(backbone, VisualConfig(weights="random", seed=s))[1] for s in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_weights_do_not_depend_on_other_threads() -> None:
    backbone = find("resnet18", None)
    alone = build(backbone, RANDOM)[1]
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            torch.rand(100)

    other = threading.Thread(target=draw)
    other.start()
    try:
        assert build(backbone, RANDOM)[1] == alone
    finally:
        stop.set()
        other.join()


def test_random_weights_are_those_of_torchvision() -> None:
    network, _ = build(find("resnet18", None), RANDOM)
    weights = network.network.state_dict()
    assert weights["conv1.weight"].std() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)
    assert (weights["bn1.weight"] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [("convnext_tiny", "classifier.2"), ("vit_b_32", "heads.head"), ("swin_t", "head")],
)
def test_the_usual_layer_is_the_input_of_the_classifier(name: str, head: str) -> None:
    network, _ = build(find(name, None), VisualConfig(weights="random"))
    with DrawFrom(torch.Generator().manual_seed(0)):
        whole = get_model(name).eval()
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        classes = whole.get_submodule(head)(network(images))
        assert torch.allclose(classes, whole(images), atol=1e-4)


@pytest.mark.parametrize("kind", ["safetensors", "wrapped", "headless"])
def test_weights_from_a_file(kind: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "wrapped":
        torch.save({"state_dict": state}, path)
    else:
        torch.save({name: t for name, t in state.items() if not name.startswith("fc.")}, path)
    network, digest = build(find("resnet18", None), from_file(path))
    loaded = network.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
    assert set(state) - set(loaded) == {"fc.weight", "fc.bias"}
    assert digest == table.digest({name: state[name] for name in loaded})


def test_the_features_are_the_input_of_the_classifier(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "w.pth")
    network, _ = build(find("resnet18", None), from_file(tmp_path / "w.pth"))
    whole = get_model("resnet18").eval()
    whole.load_state_dict(state)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(whole.fc(network(images)), whole(images), atol=1e-5)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("evil"),))  # type: ignore[return-value]


def test_files_without_weights_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    infinite = state | {"conv1.weight": state["conv1.weight"] * torch.inf}
    files: dict[str, object] = {
        "evil.pth": _Evil(),
        "list.pth": [1, 2],
        "numbers.pth": {"conv1.weight": 3},
        "empty.pth": {},
        "lacking.pth": {name: t for name, t in state.items() if name != "layer1.0.conv1.weight"},
        "shape.pth": state | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
        "infinite.pth": infinite,
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    whole = (tmp_path / "shape.pth").read_bytes()
    for name, data in {
        "zero.pth": b"",
        "cut.pth": whole[: len(whole) // 2],
        "text.pth": b"hello",
        "zero.safetensors": b"",
        "text.safetensors": b"hello, this is no file of tensors",
    }.items():
        (tmp_path / name).write_bytes(data)
    backbone = find("resnet18", None)
    for name in [*(path.name for path in tmp_path.iterdir()), "absent.pth", "absent.safetensors"]:
        with pytest.raises(UserError, match=name) as caught:
            build(backbone, from_file(tmp_path / name))
        assert "\n" not in str(caught.value)
    assert not Path("evil").exists()


def test_pretrained_weights_that_cannot_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    # A port that nobody listens on: as unreachable as a network that is not there.
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    address = "http://127.0.0.1:9/models/" + weights.url.rpartition("/")[2]
    monkeypatch.setattr(type(weights), "url", address)
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth into .*random"):
        build(find("resnet18", None), VisualConfig(weights="pretrained"))


def test_a_damaged_cache_of_pretrained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    with pytest.raises(UserError, match=r"f37072fd\.pth: its SHA-256 does not begin .* delete it"):
        build(find("resnet18", None), VisualConfig(weights="pretrained"))


def cached(folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """As if torchvision had published these bytes, and they lay in torch's cache."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    name = f"resnet18-{sha256(data).hexdigest()[:8]}.pth"
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    monkeypatch.setattr(type(weights), "url", f"http://127.0.0.1:9/models/{name}")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / name).write_bytes(data)


def test_cached_pretrained_weights_are_used(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(state, tmp_path / "same.pth")
    cached(tmp_path, monkeypatch, (tmp_path / "same.pth").read_bytes())
    backbone = find("resnet18", None)
    _, digest = build(backbone, VisualConfig(weights="pretrained"))
    assert digest == build(backbone, from_file(tmp_path / "same.pth"))[1]


def test_a_cached_file_without_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(tmp_path, monkeypatch, b"published, but no weights")
    with pytest.raises(UserError, match=r"cannot be read .* delete it"):
        build(find("resnet18", None), VisualConfig(weights="pretrained"))


def test_another_size_keeps_the_preset_s_proportions() -> None:
    backbone = find("resnet18", None)
    found = backbone.preprocessing, backbone.at(112).preprocessing
    assert [(each.shorter, each.size) for each in found] == [(256, 224), (128, 112)]
