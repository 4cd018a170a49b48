"""The network that embeds pictures: a convolutional backbone or a vision tower, ready to run."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from brmrs.columns import VISUAL
from brmrs.config.features import SELF_SUPERVISED, VisualConfig
from brmrs.config.names import is_tower
from brmrs.features import table
from brmrs.features.catalogue import text as text_model
from brmrs.features.table import Extractor
from brmrs.features.visual import backbones, folding, regions, towers
from brmrs.features.visual.pixels import Preprocessing
from brmrs.features.visual.regions import Place


class Network(NamedTuple):
    """A network that embeds pictures.

    Attributes:
        module: (B, 3, s, s) images to (B, d) vectors, or those and the (B, h, w, D) maps of
            `regions.WithRegions`, in fp32; None if no weights were loaded.
        preprocessing: of its input.
        dimension: d.
        about: its entry in meta.json.
        regions: where the maps come from; None if there are none.
    """

    module: nn.Module | None
    preprocessing: Preprocessing
    dimension: int
    about: Extractor
    regions: Place | None = None


def load(config: VisualConfig, trained: Path | None = None, *, weights: bool = True) -> Network:
    """The configured network: a vision tower of sentence-transformers, or a backbone.

    Args:
        config: names it.
        trained: the weights that `visual_training` wrote, if configured.
        weights: whether to load them.

    Raises:
        UserError: the backbone, its layer, its feature map or its weights cannot be found.
    """
    if is_tower(config.backbone):
        tower, preprocessing, dimension = towers.find(config.backbone)
        name = text_model.label(config.backbone)
        about = Extractor(VISUAL, name, name, config.weights, table.digest(tower.state_dict()))
        about = _fitted(about, config)
        return Network(tower, replace(preprocessing, fit=config.fit), dimension, about)
    backbone = backbones.find(config.backbone, config.layer)
    if config.weights in SELF_SUPERVISED:
        backbone = backbone.at(config.training.size)
    place = regions.find(backbone) if config.regions else None
    module, digest = backbones.build(backbone, config, trained) if weights else (None, None)
    if module:
        side = backbone.preprocessing.size
        folding.fold(module, torch.zeros(1, 3, side, side))
    about = _fitted(_extractor(backbone, config, digest), config)
    network = regions.WithRegions(module, place) if module and place else module
    preprocessing = replace(backbone.preprocessing, fit=config.fit)
    return Network(network, preprocessing, backbone.dimension, about, place)


def _fitted(about: Extractor, config: VisualConfig) -> Extractor:
    """The origin, and how pictures become squares where that is not the usual way."""
    return about if config.fit == "crop" else replace(about, label=f"{about.label}, padded")


def _extractor(
    backbone: backbones.Backbone, config: VisualConfig, weights_sha256: str | None
) -> Extractor:
    """The origin of the vectors. A weights file is named by its digest, not by its path."""
    which_file = f" {weights_sha256[:8]}" if weights_sha256 else ""
    origins = {
        "pretrained": " (ImageNet weights)",
        "random": " (random weights)",
        "simsiam": " (SimSiam on these pictures)",
        "byol": " (BYOL on these pictures)",
        "barlow-twins": " (Barlow Twins on these pictures)",
    }
    from_file = f" (weights from file{which_file})"
    return Extractor(
        modality=VISUAL,
        label=backbone.label + (from_file if config.weights_path else origins[config.weights]),
        model=f"{backbone.name}:{backbone.layer}",
        weights="file" if config.weights_path else config.weights,
        weights_sha256=weights_sha256,
    )
