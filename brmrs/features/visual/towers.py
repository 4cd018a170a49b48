"""The vision tower of a sentence-transformers model, such as CLIP, as an image backbone."""

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from brmrs.errors import UserError
from brmrs.features.loading import load
from brmrs.features.visual.pixels import Preprocessing

FIELD = "features.visual.backbone"


class Tower(nn.Module):
    """(B, 3, s, s) images to (B, d) vectors, as the model's `encode` gives them for pictures."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Embed a batch."""
        vectors: Tensor = self.model({"pixel_values": images, "modality": "image"})[
            "sentence_embedding"
        ]
        return vectors


def find(name: str) -> tuple[Tower, Preprocessing, int]:
    """A tower with its weights, its preprocessing and its dimension.

    Args:
        name: a folder or an id of the hub.

    Raises:
        UserError: it cannot be loaded, or takes no pictures.
    """
    model = load(name, FIELD)
    if "image" not in model.modalities:
        raise UserError(f"{FIELD}: {name} takes no pictures; name a model that does, such as CLIP")
    tower, preprocessing = Tower(model).eval(), _preprocessing(model, name)
    side = preprocessing.size
    with torch.inference_mode():
        output = tower(torch.zeros(1, 3, side, side, device=model.device))
    return tower, preprocessing, output.shape[1]


def _preprocessing(model: SentenceTransformer, name: str) -> Preprocessing:
    """The preprocessing of the model: resize the shorter side, crop a square from the middle."""
    wants = getattr(model.processor, "image_processor", model.processor)
    try:
        crop = wants.crop_size
        if not wants.do_center_crop or crop["height"] != crop["width"]:
            raise KeyError("center_crop")
        return Preprocessing(
            shorter=wants.size["shortest_edge"],
            size=crop["height"],
            filter=int(wants.resample),
            mean=tuple(wants.image_mean),
            std=tuple(wants.image_std),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{FIELD}: {name} needs another preprocessing than resizing the shorter side and "
            "cropping a square from the middle; use another model"
        ) from error
