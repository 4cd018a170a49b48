"""Embed texts by the actors of a cluster, each with its copy of the model."""

from collections.abc import Iterator, Sequence

import numpy as np
from sentence_transformers import SentenceTransformer

from brmrs.config.machines import ExecutionConfig
from brmrs.features import on_cluster, precision
from brmrs.features.embeddings import Embedded
from brmrs.features.on_cluster import Twin
from brmrs.features.text import encoder
from brmrs.features.text.encoder import Long
from brmrs.system import cluster
from brmrs.system.cluster import Actors, Columns

LIBRARIES = ("tokenizers",)  # transformers imports it
TEXTS = 1024  # in a batch at most


class EmbedTexts:
    """The work of an actor: texts to vectors."""

    def __init__(self, model: SentenceTransformer, batch_size: int, long: Long) -> None:
        self._model, self._batch_size, self._long = model.to("cpu"), batch_size, long
        self._twin = Twin(encoder.__name__, LIBRARIES)

    def __call__(self, batch: Columns) -> Columns:
        """{"row": (R,), "text": R UTF-8 texts} to {"row": (R,), "vector": (R, d) float32}."""
        self._twin.check()
        texts = [text.decode("utf-8", "surrogatepass") for text in batch["text"]]
        model = self._model.to(precision.device())
        return {
            "row": batch["row"],
            "vector": encoder.embed_all(model, texts, self._batch_size, self._long),
        }


def embed(
    model: SentenceTransformer,
    texts: Sequence[str],
    batch_size: int,
    long: Long,
    execution: ExecutionConfig,
) -> Iterator[Embedded]:
    """`encoder.embed` on a cluster; the model moves to the CPU.

    Texts of similar length are in one batch, so that few rows are padding.

    Raises:
        UserError: there is no cluster, or its machines differ from this one.
    """
    if not texts:
        return
    longest_first = np.argsort([-len(text) for text in texts], kind="stable")
    size = max(1, min(TEXTS, -(-len(texts) // (4 * (execution.workers or 4)))))
    batches = [
        {"row": rows, "text": [texts[row].encode("utf-8", "surrogatepass") for row in rows]}
        for rows in on_cluster.in_batches(longest_first, size)
    ]
    steps = [Actors(EmbedTexts(model, batch_size, long))]
    for found in cluster.apply(on_cluster.pool(execution), batches, steps):
        yield found["row"], found["vector"]
