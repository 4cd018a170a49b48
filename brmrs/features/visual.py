"""The stage `visual_features`: one vector per item from its picture, by a torchvision backbone."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from brmrs import progress
from brmrs.columns import SHA256, VISUAL
from brmrs.config import IMPORTED, SELF_SUPERVISED, VisualConfig
from brmrs.errors import UserError
from brmrs.features import backbones, imported, table
from brmrs.features.backbones import Backbone, Features
from brmrs.features.decode import to_rgb
from brmrs.features.images import TABLE, stored_files
from brmrs.features.loading import LOADING
from brmrs.stages import StageContext

LOG = logging.getLogger(__name__)


def run(context: StageContext) -> None:
    """Embed the items' pictures; writes features.parquet and meta.json.

    Where no item has a picture, no weights are needed and none are loaded.

    Raises:
        UserError: the backbone, its node or its weights are not to be had.
    """
    config = context.config.features.visual
    if config.backbone == IMPORTED:
        imported.run(context, VISUAL, config.label)
        return
    folder = context.inputs["images"]
    hashes = pq.read_table(folder / TABLE, columns=[SHA256])[SHA256].to_pylist()
    distinct = sorted(set(hashes) - {None})
    rows = {digest: row for row, digest in enumerate(distinct)}
    which = np.array([rows.get(digest, -1) for digest in hashes], dtype=np.int64)
    with LOADING:
        backbone = backbones.find(config.backbone, config.node)
    if config.weights in SELF_SUPERVISED:
        backbone = backbone.at(config.training.size)
    weights_sha256 = None
    vectors = np.zeros((0, backbone.dimension), dtype=np.float32)
    if distinct:
        with LOADING:
            trained = context.inputs["visual_training"] / backbones.TRAINED
            network, weights_sha256 = backbones.build(backbone, config, trained)
        files = stored_files(folder)
        vectors = embed(backbone, network, [files[name] for name in distinct], config.batch_size)
        if config.weights == "random":
            vectors = centred(vectors)
    LOG.info("visual features: %d of %d items have a picture", (which >= 0).sum(), len(which))
    extractor = _extractor(backbone, config, weights_sha256)
    table.write(context.out, vectors, which, extractor)


def embed(
    backbone: Backbone, network: Features, paths: Sequence[Path], batch_size: int
) -> np.ndarray:
    """Embed image files that `decode.check` found to be OK.

    A picture has the same bytes whatever the others are: every batch has `batch_size` rows, the
    last one filled up, as the last bits of a convolution depend on the shape of its operands.

    Args:
        backbone: gives the preprocessing.
        network: the backbone with its weights.
        paths: (C,) image files.
        batch_size: images in a batch.

    Returns:
        (C, d) float32.

    Raises:
        UserError: the weights give vectors that are not finite.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).to(memory_format=torch.channels_last)
    vectors = np.zeros((len(paths), backbone.dimension), dtype=np.float32)
    with progress.task("Embedding pictures", len(paths)) as task, torch.inference_mode():
        for start in range(0, len(paths), batch_size):
            batch = paths[start : start + batch_size]
            images = torch.zeros(batch_size, 3, backbone.size, backbone.size)
            for row, path in enumerate(batch):
                images[row] = backbone.transform(to_rgb(path.read_bytes()))
            images = images.to(device, memory_format=torch.channels_last)
            found = network(images)[: len(batch)].float().cpu().numpy()
            vectors[start : start + len(batch)] = found
            task.advance(len(batch))
    if not np.isfinite(vectors).all():
        raise UserError(
            f"features.visual: the weights of {backbone.name} give vectors that are not finite; "
            "use other weights"
        )
    return vectors


def centred(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors less their mean, for networks with random weights.

    Such a network answers nearly the same to every picture: on real photos the cosines of
    ResNet-18 have mean .992 and standard deviation .008, and would drown in the item graph beside
    any other signal. Without the common part they have .007 and .58, and the neighbours are no
    worse. The price: a vector depends on all pictures, not on its own alone.

    Args:
        vectors: (C, d), one per distinct picture.

    Returns:
        (C, d) float32; `vectors` themselves where C < 2, as nothing would be left.
    """
    if len(vectors) < 2:
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    result: np.ndarray = (unit - unit.mean(axis=0, dtype=np.float64)).astype(np.float32)
    return result


def _extractor(
    backbone: Backbone, config: VisualConfig, weights_sha256: str | None
) -> table.Extractor:
    """What made the vectors. A file of weights goes by its content, wherever it lies."""
    which_file = f" {weights_sha256[:8]}" if weights_sha256 else ""
    origin = {
        "pretrained": "",
        "random": " (random weights)",
        "file": f" (weights from file{which_file})",
        "simsiam": " (SimSiam on these pictures)",
        "byol": " (BYOL on these pictures)",
        "barlow-twins": " (Barlow Twins on these pictures)",
    }[config.weights]
    return table.Extractor(
        modality=VISUAL,
        label=backbone.label + origin,
        model=f"{backbone.name}:{backbone.node}",
        weights=config.weights,
        weights_sha256=weights_sha256,
    )
