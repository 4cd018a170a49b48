"""The stage `visual_training`: trains the backbone on the data set's pictures, if configured.

A separate stage, so that another batch size for the embedding does not repeat the training.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from brmrs.columns import CURVE, SHA256
from brmrs.config.features import SELF_SUPERVISED, VisualConfig
from brmrs.errors import UserError
from brmrs.features.embeddings import distinct
from brmrs.features.loading import LOADING
from brmrs.features.self_supervised.barlow_twins import BarlowTwins
from brmrs.features.self_supervised.base import Method
from brmrs.features.self_supervised.byol import BYOL
from brmrs.features.self_supervised.pictures import Pictures
from brmrs.features.self_supervised.simsiam import SimSiam
from brmrs.features.self_supervised.training import Fit, Point, without_dropout
from brmrs.features.visual import backbones
from brmrs.features.visual.seeded import DrawFrom
from brmrs.images.picture_store import TABLE, stored_files
from brmrs.stages import StageContext
from brmrs.system.files import write_parquet

METHODS: dict[str, type[Method]] = {
    "simsiam": SimSiam,
    "byol": BYOL,
    "barlow-twins": BarlowTwins,
}
CURVE_FILE, CHECKPOINT = "curve.parquet", "checkpoint.pt"


def run(context: StageContext) -> None:
    """Train; writes weights.safetensors and curve.parquet.

    If it is not configured, or no item has a picture, the curve is empty and there are no weights.

    Raises:
        UserError: the backbone or its layer does not exist, there is only one picture, or the
            training failed.
    """
    config = context.config.features.visual
    backbones.use(context.config.plugins)
    folder = context.inputs["images"]
    hashes, _ = distinct(pq.read_table(folder / TABLE, columns=[SHA256])[SHA256].to_pylist())
    curve: list[Point] = []
    if config.weights in SELF_SUPERVISED and hashes:
        files = stored_files(folder)
        paths = [files[digest] for digest in hashes]
        weights, curve = train(paths, config, context.scratch / CHECKPOINT)
        save_file(weights, context.out / backbones.TRAINED)
    columns = {name: [point[n] for point in curve] for n, name in enumerate(CURVE.names)}
    write_parquet(context.out / CURVE_FILE, CURVE, columns)


def train(
    paths: Sequence[Path], config: VisualConfig, checkpoint: Path
) -> tuple[dict[str, Tensor], list[Point]]:
    """Train a backbone from random weights.

    Args:
        paths: (C,) image files that `decode.check` found to be OK.
        config: backbone, method and seed.
        checkpoint: path of the state after each epoch.

    Returns:
        The weights, as `weights_path` takes them, and the curve.

    Raises:
        UserError: there is only one picture, or the training failed.
    """
    if len(paths) < 2:
        raise UserError(
            f"features.visual.weights: {config.weights} trains on the data set's own pictures, and "
            "there is only one; set weights to pretrained, file or random"
        )
    with LOADING:
        backbone = backbones.find(config.backbone, config.layer).at(config.training.size)
        random = config.model_copy(update={"weights": "random"})

        def network() -> torch.nn.Module:
            return without_dropout(backbones.build(backbone, random)[0])

        with DrawFrom(torch.Generator().manual_seed(config.seed)):
            method = METHODS[config.weights](network, backbone.dimension)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method = method.to(device).to(memory_format=torch.channels_last)
    pictures = Pictures(paths, backbone.preprocessing.shorter)
    curve = Fit(method, pictures, config.training, config.seed).run(checkpoint)
    weights = method.backbone.get_submodule("network").state_dict()
    return {name: value.cpu().contiguous() for name, value in weights.items()}, curve
