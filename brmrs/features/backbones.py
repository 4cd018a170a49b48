"""Image backbones of torchvision, cut at a named node, with weights from several places."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from brmrs.config import SELF_SUPERVISED, VisualConfig
from brmrs.errors import UserError
from brmrs.features import table
from brmrs.features.seeded import DrawFrom
from brmrs.files import digest_file

# The usual node by the beginning of the name. VGG: after the ReLU of the second fully-connected
# layer, the 4096 floats of the literature (fc7). Others: what the last linear layer gets.
NODES = {
    "vgg": "classifier.4",
    "resnet": "flatten",
    "resnext": "flatten",
    "wide_resnet": "flatten",
    "convnext": "classifier.1",
    "vit": "encoder.ln",
    "swin": "flatten",
}
LABELS = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "convnext_tiny": "ConvNeXt-T",
    "vit_b_16": "ViT-B/16",
    "swin_t": "Swin-T",
}
TRAINED = "weights.safetensors"  # in the artifact of `visual_training`
_FEATURE = "feature"


@dataclass(frozen=True)
class Backbone:
    """A network cut at a node, without weights yet: plain facts and how to build it.

    Attributes:
        name: of torchvision.
        node: the feature node.
        size: side of the square images it takes, pixels.
        dimension: d, of its feature vectors.
    """

    name: str
    node: str
    size: int
    dimension: int

    @property
    def label(self) -> str:
        """Its name in the literature, where it has one."""
        return LABELS.get(self.name, self.name)

    def at(self, size: int) -> "Backbone":
        """The same for images of another size."""
        return replace(self, size=size)

    def transform(self, image: Any) -> Tensor:
        """The preprocessing of torchvision's own weights: an RGB image to (3, size, size)."""
        preset = _weights(self.name).transforms
        result: Tensor = preset(crop_size=self.size, resize_size=self.shorter_side)(image)
        return result

    @property
    def shorter_side(self) -> int:
        """Pixels that the shorter side is resized to before the square is cut out."""
        usual = _weights(self.name).transforms()
        return round(self.size * usual.resize_size[0] / usual.crop_size[0])


class Features(nn.Module):
    """(B, 3, s, s) images to (B, d) vectors: the node's output, a map averaged over positions.

    Of a sequence of tokens (B, T, d), as in a ViT, the first counts: the class token.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Embed a batch."""
        output: Tensor = self.network(images)[_FEATURE]
        if output.ndim == 4:
            return output.mean(dim=(2, 3))
        return output[:, 0] if output.ndim == 3 else output


def find(name: str, node: str | None) -> Backbone:
    """Look a backbone up and check its node, without making weights.

    Raises:
        UserError: an unknown backbone or node, or no usual node for this backbone.
    """
    names = list_models(module=torchvision.models)
    if name not in names:
        raise UserError(
            f"features.visual.backbone: torchvision has no {name!r}; it has {', '.join(names)}"
        )
    usual = next((NODES[family] for family in NODES if name.startswith(family)), None)
    node = node or usual
    if node is None:
        raise UserError(f"features.visual.node: say which node of {name} gives the features")
    size = int(_weights(name).transforms().crop_size[0])
    with torch.device("meta"):
        features = _cut(name, node, size)
        output = features(torch.empty(1, 3, size, size))
    if output.ndim != 2 or not output.is_floating_point():
        raise UserError(f"features.visual.node: {node!r} of {name} gives no vectors; try {usual}")
    return Backbone(name, node, size, output.shape[1])


def build(
    backbone: Backbone, config: VisualConfig, trained: Path | None = None
) -> tuple[Features, str]:
    """The network with its weights, ready to embed, and the SHA-256 of the weights.

    Only the weights up to the node are needed and count; a file may lack the classifier.

    Args:
        backbone: the network.
        config: where its weights come from.
        trained: the file of those trained on the data set's own pictures.

    Raises:
        UserError: the weights cannot be had, or are not those of this backbone.
    """
    with DrawFrom(torch.Generator().manual_seed(config.seed)):
        features = _cut(backbone.name, backbone.node, backbone.size)
    if config.weights != "random":
        file = trained if config.weights in SELF_SUPERVISED else config.file
        source, state = (
            _pretrained(backbone.name) if config.weights == "pretrained" else _from_file(file)
        )
        _fill(features.network, state, f"{source}: not weights of {backbone.name}")
    return features.eval(), table.digest(features.network.state_dict())


def _weights(name: str) -> Any:
    """Torchvision's recommended weights of a model."""
    return get_model_weights(name).DEFAULT


def _cut(name: str, node: str, size: int) -> Features:
    """The network up to a node."""
    options = {"image_size": size} if name.startswith("vit") else {}
    network = get_model(name, weights=None, **options).eval()
    try:
        return Features(create_feature_extractor(network, {node: _FEATURE}))
    except ValueError as error:
        nodes = get_graph_node_names(network)[1]
        close = difflib.get_close_matches(node, nodes, n=5) or nodes[-8:]
        raise UserError(
            f"features.visual.node: {name} has no node {node!r}; near it: {', '.join(close)}"
        ) from error


def _pretrained(name: str) -> tuple[str, Mapping[str, Tensor]]:
    """Torchvision's own weights, from torch's cache or the network."""
    weights = _weights(name)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / weights.url.rpartition("/")[2]
    _check_cached(file)
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, TimeoutError) as error:
        raise UserError(
            f"features.visual.weights: the pretrained weights of {name} are not cached and could "
            f"not be fetched; put {file.name} into {folder}, or set `weights: file` with `file:`, "
            f"or `weights: random` for a trial"
        ) from error
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise UserError(f"{file}: cannot be read ({_one_line(error)}); delete it") from error
    return str(file), state


def _check_cached(file: Path) -> None:
    """A cached file must have the digest in its name; torch checks it after a download alone."""
    promised = file.stem.rpartition("-")[2]
    if file.is_file() and not digest_file(file).startswith(promised):
        raise UserError(f"{file}: its SHA-256 does not begin with {promised}; delete it")


def _from_file(path: Path | None) -> tuple[str, Mapping[str, Tensor]]:
    """A state dict from a .safetensors or .pth file; nothing in it is executed."""
    if path is None:
        raise UserError("features.visual.file: `weights: file` needs the path of a state dict")
    try:
        if path.suffix == ".safetensors":
            return str(path), load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"features.visual.file: {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise UserError(
            f"features.visual.file: {path}: no state dict ({_one_line(error)}); "
            "write one by torch.save(network.state_dict(), path)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(torch.is_tensor(value) for value in state.values()):
        raise UserError(f"features.visual.file: {path}: holds no state dict of tensors")
    return str(path), state


def _fill(network: nn.Module, state: Mapping[str, Tensor], fault: str) -> None:
    """Load the tensors that the network needs."""
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state]
    if missing:
        raise UserError(f"{fault}: lacks {len(missing)} of {len(wanted)}, first {missing[0]}")
    for name, tensor in wanted.items():
        if tensor.shape != state[name].shape:
            raise UserError(
                f"{fault}: {name} is {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
            )
        if not torch.isfinite(state[name]).all():
            raise UserError(f"{fault}: {name} is not finite")
    network.load_state_dict({name: state[name] for name in wanted})


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
