"""Embed pictures by a cluster: read here, decoded anywhere, embedded by actors with the network."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from brmrs.config.machines import ExecutionConfig
from brmrs.features import on_cluster, precision
from brmrs.features.embeddings import Embedded
from brmrs.features.on_cluster import Twin
from brmrs.features.visual import encoder
from brmrs.features.visual.decoding import Decode, read
from brmrs.features.visual.pixels import Preprocessing
from brmrs.system import cluster
from brmrs.system.cluster import Actors, Columns, Tasks
from brmrs.system.heap import freed_memory_kept

BATCHES = 4  # of the network, in a batch of the cluster


class EmbedPictures:
    """The work of an actor: pixels to vectors, and maps if the network gives them."""

    def __init__(self, module: nn.Module, preprocessing: Preprocessing, batch_size: int) -> None:
        self._module = module.to("cpu")
        self._preprocessing, self._batch_size = preprocessing, batch_size
        self._twin = Twin(encoder.__name__)

    def __call__(self, batch: Columns) -> Columns:
        """{"row", "pixels"} to {"row", "part0": (R, d) float32, "part1": (R, n) float16}."""
        self._twin.check()
        module = self._module.to(precision.device()).to(memory_format=torch.channels_last)
        pixels = np.asarray(batch["pixels"])
        with freed_memory_kept():
            parts = [
                encoder.embed_batch(module, self._preprocessing, part, self._batch_size)
                for part in on_cluster.in_batches(pixels, self._batch_size)
            ]
        joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return {"row": batch["row"], **{f"part{n}": part for n, part in enumerate(joined)}}


def embed(
    module: nn.Module,
    preprocessing: Preprocessing,
    paths: Sequence[Path],
    batch_size: int,
    execution: ExecutionConfig,
) -> Iterator[Embedded]:
    """`encoder.embed` on a cluster; the network moves to the CPU.

    Raises:
        UserError: there is no cluster, its machines differ from this one, or the weights give
            numbers that are not finite.
    """
    if not paths:
        return
    batches = [
        {"row": rows, "path": [os.fsencode(paths[row]) for row in rows]}
        for rows in on_cluster.in_batches(np.arange(len(paths)), BATCHES * batch_size)
    ]
    steps: list[Tasks | Actors] = [
        Tasks(read, here=True),
        Tasks(Decode(preprocessing)),
        Actors(EmbedPictures(module, preprocessing, batch_size)),
    ]
    for found in cluster.apply(on_cluster.pool(execution), batches, steps):
        yield found["row"], *(found[name] for name in sorted(found) if name.startswith("part"))
