"""Feature maps: the output of a backbone before positions are pooled."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brmrs.errors import UserError
from brmrs.features import feature_table, table
from brmrs.features.loading import LOADING
from brmrs.features.visual import backbones
from brmrs.features.visual.backbones import Backbone, Features

POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Place:
    """The place of the map in a backbone.

    Attributes:
        module: a module, by its path.
        before: whether the map is the input of that module; else its output.
        shape: (h, w, D).
    """

    module: str
    before: bool
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Numbers in a map."""
        height, width, depth = self.shape
        return height * width * depth


def find(backbone: Backbone) -> Place:
    """The output of the backbone's layer if it is a map; else the input of the last pooling.

    VGG16 at 224 pixels: the 14 x 14 x 512 after the ReLU of conv5_3, as in VECF (Chen et al. 2019).
    ResNet: the output of layer4, 7 x 7 x 512 or 2048.

    Raises:
        UserError: there is no such map.
    """
    side = backbone.preprocessing.size
    with LOADING, torch.device("meta"):
        network = backbones.untrained(backbone.name, side)
        found = _maps(network, backbone.layer)
        Features(network, backbone.layer)(torch.empty(1, 3, side, side))
    if not found:
        raise UserError(
            f"features.visual.regions: {backbone.name} has no feature map up to {backbone.layer}; "
            "use a convolutional backbone, such as vgg16 or resnet50, or a layer that gives a map"
        )
    return found[-1]


def _maps(network: nn.Module, layer: str) -> list[Place]:
    """The possible places in the order they run; filled when the network runs."""
    found: list[Place] = []

    def note(name: str, x: Any, *, before: bool) -> None:
        _, depth, height, width = x.shape
        found.append(Place(name, before, (height, width, depth)))

    def at_pooling(name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs[0].shape[2:].numel() > output.shape[2:].numel():
            note(name, inputs[0], before=True)

    def at_layer(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if torch.is_tensor(output) and output.ndim == 4 and output.shape[2:].numel() > 1:
            note(layer, output, before=False)

    for name, module in network.named_modules():
        if isinstance(module, POOLINGS):
            module.register_forward_hook(lambda _, x, y, name=name: at_pooling(name, x, y))
    network.get_submodule(layer).register_forward_hook(at_layer)
    return found


class WithRegions(nn.Module):
    """(B, 3, s, s) images to the (B, d) vectors of `Features` and (B, h, w, D) feature maps.

    The vectors are the same as without the maps, to the last bit.
    """

    def __init__(self, features: Features, place: Place) -> None:
        super().__init__()
        self.features = features
        self._map: Tensor | None = None
        module = features.network.get_submodule(place.module)
        if place.before:
            module.register_forward_pre_hook(self._keep_input)
        else:  # before the hook that ends the forward pass
            module.register_forward_hook(self._keep_output, prepend=True)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embed a batch."""
        vectors: Tensor = self.features(images)
        found, self._map = self._map, None
        assert found is not None
        return vectors, found.permute(0, 2, 3, 1)

    # Methods, not closures, so that a copy of this module has a separate map.
    def _keep_input(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._map = inputs[0]

    def _keep_output(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._map = output


def write(out: Path, rows: np.ndarray, which: np.ndarray, shape: tuple[int, int, int]) -> None:
    """Write `regions.npy`, (I, h, w, D) float16, in blocks; row i is item i.

    Args:
        out: the folder to write into.
        rows: (C, h w D) float16, one per distinct picture.
        which: (I,) the row of each item; -1 if it has none, its map is then zeros.
        shape: (h, w, D).
    """
    header = {"descr": "<f2", "fortran_order": False, "shape": (len(which), *shape)}
    with (out / feature_table.REGIONS).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in table.blocks(len(which), rows.shape[1]):
            part = which[block]
            maps = np.zeros((len(part), rows.shape[1]), dtype="<f2")
            maps[part >= 0] = rows[part[part >= 0]]
            file.write(maps.data)
