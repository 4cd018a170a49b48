"""The stage `visual_features`: one vector per item from its picture, and its regions."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from brmrs.columns import SHA256, VISUAL
from brmrs.config.features import IMPORTED, VisualConfig
from brmrs.features import embeddings, imported, precision, table
from brmrs.features.embeddings import Embedded
from brmrs.features.table import Extractor
from brmrs.features.visual import backbones, on_cluster, regions
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import network as networks
from brmrs.features.visual.network import Network
from brmrs.images.picture_store import TABLE, stored_files
from brmrs.stages import StageContext
from brmrs.system import code


def run(context: StageContext) -> None:
    """Embed the items' pictures; writes features.parquet, meta.json, and regions.npy if asked to.

    If no item has a picture, no weights are loaded, except those of a vision tower.

    Raises:
        UserError: the backbone, its layer or its weights cannot be found.
    """
    config = context.config.features.visual
    if config.backbone == IMPORTED:
        imported.run(context, VISUAL, config)
        return
    backbones.use(context.config.plugins)
    folder = context.inputs["images"]
    hashes = pq.read_table(folder / TABLE, columns=[SHA256])[SHA256].to_pylist()
    distinct, which = embeddings.distinct(hashes)
    embeddings.report(VISUAL, "a picture", which)
    trained = context.inputs.get("visual_training")
    network = networks.load(config, trained and trained / backbones.TRAINED, weights=bool(distinct))
    vectors, about = np.zeros((0, network.dimension), dtype=np.float32), network.about
    if distinct:
        found, about = embed(context, config, network, distinct, stored_files(folder))
        vectors = found.vectors
        if network.regions and found.regions is not None:
            regions.write(context.out, found.regions, which, network.regions.shape)
    if config.weights == "random":
        vectors = centred(vectors, into=vectors)
    table.write(context.out, vectors, which, about)


def embed(
    context: StageContext,
    config: VisualConfig,
    network: Network,
    contents: Sequence[str],
    files: dict[str, Path],
) -> tuple[embeddings.Rows, Extractor]:
    """The vectors and maps of (C,) pictures by content hash, cached or new, and their origin.

    Raises:
        UserError: the weights give vectors that are not finite.
    """
    assert network.about.weights_sha256 is not None
    # Vectors of random weights differ by little (see `centred`); bf16 would lose that.
    wanted = "fp32" if config.weights == "random" else config.precision
    module, chosen = visual_encoder.in_precision(network, wanted)
    settings = {
        "model": network.about.model,
        "preprocessing": asdict(network.preprocessing),
        "precision": chosen,
        "processor": precision.processor(),
        "batch_size": config.batch_size,
        "regions": network.regions and network.regions.module,
    }
    own = backbones.OWN.get(config.backbone)
    if own:  # imported by name, so the imports of the encoder do not show it
        settings["network"] = {name: code.digest(name) for name in sorted(code.closure(own.module))}
    recipe = embeddings.recipe(
        network.about.weights_sha256,
        settings,
        visual_encoder.__name__,
    )

    def embed_new(new: np.ndarray) -> Iterator[Embedded]:
        paths = [files[contents[row]] for row in new.tolist()]
        arguments = (module, network.preprocessing, paths, config.batch_size)
        if context.config.execution.engine == "ray":
            return on_cluster.embed(*arguments, context.config.execution)
        return visual_encoder.embed(*arguments)

    size = network.regions.size if network.regions else 0
    found = embeddings.gather(context, VISUAL, recipe, contents, network.dimension, embed_new, size)
    embeddings.note(context, [found])
    return found, replace(network.about, precision=chosen)


def centred(vectors: np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
    """Unit vectors minus their mean, for networks with random weights.

    Such a network gives nearly the same vector for every picture: on real photos the cosines of
    ResNet-18 have mean .992 and standard deviation .008, too little to affect the item graph.
    Without the mean they have .007 and .58, and the nearest neighbours are as good. The cost: a
    vector depends on all pictures.

    Args:
        vectors: (C, d) float32, one per distinct picture.
        into: array for the result; may be `vectors`.

    Returns:
        (C, d) float32; `vectors` unchanged if C < 2, as nothing would be left.
    """
    if len(vectors) < 2:
        return vectors
    result = np.empty(vectors.shape, dtype=np.float32) if into is None else into
    total = np.zeros(vectors.shape[1])
    for rows in table.blocks(*vectors.shape):
        total += table.units(vectors[rows]).sum(axis=0, dtype=np.float64)
    for rows in table.blocks(*vectors.shape):
        result[rows] = table.units(vectors[rows]) - total / len(vectors)
    return result
