"""Image backbones, cut after a layer, with weights from several sources."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.transforms.functional import pil_modes_mapping

from brmrs import extensions
from brmrs.config.features import SELF_SUPERVISED, VisualConfig
from brmrs.errors import UserError, first_line
from brmrs.extensions import Extension
from brmrs.features import table
from brmrs.features.catalogue.packaged import NO_WEIGHTS, backbone_weights
from brmrs.features.loading import LOADING
from brmrs.features.visual.pixels import Preprocessing
from brmrs.features.visual.seeded import DrawFrom
from brmrs.suggest import nearest
from brmrs.system.files import digest_file

# The usual layer, a module, by the beginning of the name. VGG: the ReLU after the second
# fully-connected layer, 4096 floats (fc7 in the literature). Others: the input of the classifier.
LAYERS = {
    "vgg": "classifier.4",
    "resnet": "avgpool",
    "resnext": "avgpool",
    "wide_resnet": "avgpool",
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
    "efficientnet-lite0": "EfficientNet-Lite0",
}
# Backbones that are not torchvision's: the project's, and those of plug-in files (see `use`).
OWN: dict[str, Extension] = dict(extensions.built_in("backbone"))
PREPROCESSING = ("shorter", "filter", "mean", "std")  # optional arguments of `@register`
TRAINED = "weights.safetensors"  # in the artifact of `visual_training`


@dataclass(frozen=True)
class Backbone:
    """The description of a network cut after a layer, without weights.

    Attributes:
        name: of torchvision, or registered.
        layer: the module whose output is the features.
        preprocessing: that of its published weights.
        dimension: d, of its feature vectors.
        unused: modules that the features do not depend on.
    """

    name: str
    layer: str
    preprocessing: Preprocessing
    dimension: int
    unused: tuple[str, ...]

    @property
    def label(self) -> str:
        """Its name in the literature, if it has one."""
        return LABELS.get(self.name, self.name)

    def at(self, size: int) -> "Backbone":
        """The same for images of another size, which show the same part of the picture."""
        usual = self.preprocessing
        shorter = round(size * usual.shorter / usual.size)
        return replace(self, preprocessing=replace(usual, shorter=shorter, size=size))


class _Reached(Exception):  # noqa: N818 - not an error: it ends a forward pass
    """The layer has run."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def _stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
    """A forward hook."""
    raise _Reached(output)


class Features(nn.Module):
    """(B, 3, s, s) images to (B, d) vectors: the layer's output, a map averaged over positions.

    Of a sequence of tokens (B, T, d), as in a ViT, the first one, the class token, counts.
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        network.get_submodule(layer).register_forward_hook(_stop)

    def forward(self, images: Tensor) -> Tensor:
        """Embed a batch; modules after the layer do not run.

        Raises:
            ValueError: the layer does not run, or does not give floats of this shape.
        """
        try:
            self.network(images)
        except _Reached as reached:
            output = reached.output
            if torch.is_tensor(output) and output.is_floating_point() and 2 <= output.ndim <= 4:
                if output.ndim == 4:
                    return output.mean(dim=(2, 3))
                return output[:, 0] if output.ndim == 3 else output
        raise ValueError("the layer gives no vectors")


def use(plugins: Iterable[Path]) -> None:
    """Add the backbones of plug-in files.

    `@register(name, kind="backbone", layer=..., size=...)` decorates a function that builds the
    network. `layer` is the module whose output is the features, `size` the side of the images in
    pixels; `shorter`, `filter`, `mean` and `std` mean the same as in `Preprocessing`. Pretrained
    weights may come from an installed package: `distribution`, `weights` (a file in it) and
    `sha256`.

    Raises:
        UserError: a backbone has a name of torchvision's, or no layer or size.
    """
    for name, extension in extensions.known("backbone", plugins).items():
        if name in list_models(module=torchvision.models) or "/" in name:
            raise UserError(f"{extension.file}: choose another name; {name} is taken")
        if missing := [each for each in ("layer", "size") if each not in extension.options]:
            raise UserError(f"{extension.file}: @register of backbone {name} lacks {missing[0]}=")
        OWN[name] = extension


def find(name: str, layer: str | None) -> Backbone:
    """Look a backbone up and check its layer, without creating weights.

    Raises:
        UserError: an unknown backbone or layer, or no usual layer for this backbone.
    """
    names = list_models(module=torchvision.models)
    if name not in {*names, *OWN}:
        raise UserError(
            f"features.visual.backbone: no {name!r}; there are {', '.join([*OWN, *names])}"
        )
    usual = next((LAYERS[family] for family in LAYERS if name.startswith(family)), None)
    if name in OWN:
        usual = OWN[name].options["layer"]
    layer = layer or usual
    if layer is None:
        raise UserError(f"features.visual.layer: name the layer of {name} that gives the features")
    preprocessing = _preprocessing(name)
    with LOADING, torch.device("meta"):
        network = untrained(name, preprocessing.size)
    names = [module for module, _ in network.named_modules()][1:]
    if layer not in names:
        close = nearest(layer, names, 5) or names[-8:]
        raise UserError(
            f"features.visual.layer: {name} has no module {layer!r}; near it: {', '.join(close)}"
        )
    dimension, entered = _try_out(network, layer, preprocessing.size)
    if dimension is None:
        raise UserError(f"features.visual.layer: {layer!r} of {name} gives no vectors; try {usual}")
    # Up to the layer, modules may be used without being called: attention reads their weights.
    behind = [
        module
        for module in names[names.index(layer) :]
        if module not in entered and not module.startswith(f"{layer}.")
    ]
    unused = (module for module in behind if module.rpartition(".")[0] not in behind)
    return Backbone(name, layer, preprocessing, dimension, tuple(unused))


def _try_out(network: nn.Module, layer: str, size: int) -> tuple[int | None, set[str]]:
    """The dimension of a layer's vectors, None if it gives none, and the modules called before."""
    entered: set[str] = set()
    for name, module in network.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: entered.add(name))
    with torch.device("meta"):
        try:
            return Features(network, layer)(torch.empty(1, 3, size, size)).shape[1], entered
        except ValueError:
            return None, entered


def build(
    backbone: Backbone, config: VisualConfig, trained: Path | None = None
) -> tuple[Features, str]:
    """The network with its weights, ready to embed, and the SHA-256 of the weights.

    Only the weights up to the layer are needed and digested; a file may lack the classifier.

    Args:
        backbone: the network.
        config: the source of its weights.
        trained: the file of those trained on the data set's own pictures.

    Raises:
        UserError: the weights cannot be loaded, or are not those of this backbone.
    """
    with LOADING, DrawFrom(torch.Generator().manual_seed(config.seed)):
        network = untrained(backbone.name, backbone.preprocessing.size)
    for module in backbone.unused:
        network.set_submodule(module, nn.Identity())
    file = trained if config.weights in SELF_SUPERVISED else config.weights_path
    if file is not None or config.weights != "random":
        source, state = _from_file(file) if file else _pretrained(backbone.name)
        _fill(network, state, f"{source}: not weights of {backbone.name}")
    return Features(network, backbone.layer), table.digest(network.state_dict())


def _weights(name: str) -> Any:
    """Torchvision's recommended weights of a model."""
    return get_model_weights(name).DEFAULT


def _preprocessing(name: str) -> Preprocessing:
    if name in OWN:
        options = {field: OWN[name].options.get(field) for field in PREPROCESSING}
        size = OWN[name].options["size"]
        given = {field: value for field, value in options.items() if value is not None}
        return Preprocessing(**{"shorter": round(size * 256 / 224), "size": size, **given})
    preset = _weights(name).transforms()
    return Preprocessing(
        shorter=preset.resize_size[0],
        size=preset.crop_size[0],
        filter=pil_modes_mapping[preset.interpolation],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def untrained(name: str, size: int) -> nn.Module:
    """The whole network with fresh weights, for images of a size, in evaluation mode."""
    if name in OWN:
        own: nn.Module = OWN[name].load()()
        return own.eval()
    options = {"image_size": size} if name.startswith("vit") else {}
    network: nn.Module = get_model(name, weights=None, **options)
    return network.eval()


def pretrained_file(name: str) -> tuple[Path, str]:
    """The path of torchvision's pretrained weights in torch's cache, and their address."""
    url: str = _weights(name).url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2], url


def _pretrained(name: str) -> tuple[str, Mapping[str, Tensor]]:
    """The published weights: of an installed package, or torchvision's."""
    if name not in OWN:
        return _of_torchvision(name)
    path = backbone_weights(name, OWN[name].options)
    if path is None:
        raise UserError(NO_WEIGHTS.format(name=name))
    source, state = _from_file(path)
    plain = {".".join(part.lstrip("_") for part in key.split(".")): state[key] for key in state}
    return source, plain


def _of_torchvision(name: str) -> tuple[str, Mapping[str, Tensor]]:
    """Torchvision's own weights, from torch's cache or the network."""
    weights = _weights(name)
    file, _ = pretrained_file(name)
    folder = file.parent
    _check_cached(file)
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, TimeoutError) as error:
        raise UserError(
            f"features.visual.weights: the pretrained weights of {name} are not cached and could "
            f"not be fetched; put {file.name} into {folder}, or set `weights_path` to a file of "
            "yours, or train on these pictures by `weights: simsiam`, or try `weights: random`"
        ) from error
    except Exception as error:  # for a damaged file the unpickler raises errors of any class
        raise UserError(f"{file}: cannot be read ({first_line(error)}); delete it") from error
    return str(file), state


def _check_cached(file: Path) -> None:
    """A cached file must match the digest in its name; torch checks that only after a download."""
    promised = file.stem.rpartition("-")[2]
    if file.is_file() and not digest_file(file).startswith(promised):
        raise UserError(f"{file}: its SHA-256 does not begin with {promised}; delete it")


def _from_file(path: Path) -> tuple[str, Mapping[str, Tensor]]:
    """A state dict from a .safetensors or .pth file; no code in it is executed."""
    try:
        if path.suffix == ".safetensors":
            return str(path), load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(
            f"features.visual.weights_path: {path}: {error.strerror or error}"
        ) from error
    except Exception as error:  # for a damaged file the unpickler raises errors of any class
        raise UserError(
            f"features.visual.weights_path: {path}: not a state dict ({first_line(error)}); "
            "write one by torch.save(network.state_dict(), path)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(torch.is_tensor(value) for value in state.values()):
        raise UserError(f"features.visual.weights_path: {path}: holds no state dict of tensors")
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
