"""Image backbones of torchvision, cut at a named node, with weights from one of three places."""

import difflib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from brmrs.config import VisualConfig
from brmrs.errors import UserError
from brmrs.features import table

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
_DRAWS = {
    "normal_",
    "uniform_",
    "trunc_normal_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "xavier_normal_",
    "xavier_uniform_",
}
_FEATURE = "feature"


class _DrawFrom(TorchFunctionMode):
    """All random initialisation in this block and thread draws from one generator.

    So a network gets torchvision's own initialisation, while the global generator, which other
    stages' threads may use, stays untouched.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if getattr(func, "__name__", "") in _DRAWS:
            options["generator"] = self._generator
        return func(*args, **options)


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

    def transform(self, image: Any) -> Tensor:
        """The preprocessing of torchvision's own weights: an RGB image to (3, size, size)."""
        result: Tensor = _weights(self.name).transforms()(image)
        return result


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


def build(backbone: Backbone, config: VisualConfig) -> tuple[Features, str]:
    """The network with its weights, ready to embed, and the SHA-256 of the weights.

    Only the weights up to the node are needed and count; a file may lack the classifier.

    Raises:
        UserError: the weights cannot be had, or are not those of this backbone.
    """
    with _DrawFrom(torch.Generator().manual_seed(config.seed)):
        features = _cut(backbone.name, backbone.node, backbone.size)
    if config.weights != "random":
        source, state = (
            _from_file(config.file) if config.weights == "file" else _pretrained(backbone.name)
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
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, TimeoutError) as error:
        raise UserError(
            f"features.visual.weights: the pretrained weights of {name} are not cached and could "
            f"not be fetched; put {file.name} into {folder}, or set `weights: file` with `file:`, "
            f"or `weights: random` for a trial"
        ) from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"{file}: cannot be read ({_one_line(error)}); delete it") from error
    return str(file), state


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
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
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
