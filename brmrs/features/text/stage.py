"""The stage `text_features`: one vector per item from its title, brand, categories, description."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.columns import CATEGORIES, TEXT
from brmrs.config import template
from brmrs.config.features import TextConfig
from brmrs.config.names import text_models
from brmrs.features import embeddings, imported, loading, precision, table
from brmrs.features.catalogue import text as text_model
from brmrs.features.embeddings import Embedded, Rows
from brmrs.features.table import Extractor
from brmrs.features.text import encoder as text_encoder
from brmrs.features.text import on_cluster
from brmrs.stages import ITEMS, StageContext
from brmrs.system.files import digest_bytes

TOGETHER = "together.npy"  # in the scratch folder


def run(context: StageContext) -> None:
    """Embed the items' texts; writes features.parquet and meta.json.

    Raises:
        UserError: a model cannot be loaded.
    """
    config = context.config.features.text
    models = text_models(config)
    if not models:
        imported.run(context, TEXT, config)
        return
    items = pq.read_table(context.inputs[ITEMS], columns=list(template.FIELDS))
    texts = render(items, config.template)
    distinct, which = embeddings.distinct([text or None for text in texts])
    embeddings.report(TEXT, "text", which)
    found = [embed(context, config, name, distinct) for name in models]
    embeddings.note(context, [rows for rows, _ in found])
    vectors = side_by_side([rows.vectors for rows, _ in found], context.scratch / TOGETHER)
    table.write(context.out, vectors, which, together([extractor for _, extractor in found]))


def render(items: pa.Table, pattern: str) -> list[str]:
    """The text of each item by the template (see `template.parse`); "" if all fields are empty.

    Args:
        items: the columns of `template.FIELDS`.
        pattern: the template.
    """
    parsed = template.parse(pattern)
    return [
        parsed.render({**item, CATEGORIES: ", ".join(name for name in item[CATEGORIES] if name)})
        for item in items.to_pylist()
    ]


def embed(
    context: StageContext, config: TextConfig, name: str, texts: Sequence[str]
) -> tuple[Rows, Extractor]:
    """The vectors of (C,) distinct texts by one model, cached or new, and their origin.

    Raises:
        UserError: the model cannot be loaded.
    """
    model = loading.load(name)
    weights = table.digest(model.state_dict())
    settings = text_encoder.settings_digest(model)
    model, chosen = text_encoder.in_precision(model, config.precision)
    recipe = embeddings.recipe(
        weights,
        {
            "model": settings,
            "precision": chosen,
            "processor": precision.processor(),
            "long_texts": config.long_texts,
            "batch_size": config.batch_size,
        },
        text_encoder.__name__,
        on_cluster.LIBRARIES,
    )

    def embed_new(new: np.ndarray) -> Iterator[Embedded]:
        wanted = [texts[row] for row in new.tolist()]
        arguments = (model, wanted, config.batch_size, config.long_texts)
        if context.config.execution.engine == "ray":
            return on_cluster.embed(*arguments, context.config.execution)
        return text_encoder.embed(*arguments)

    contents = [digest_bytes(text.encode("utf-8", "surrogatepass")) for text in texts]
    size = text_encoder.dimension(model)
    found = embeddings.gather(context, TEXT, recipe, contents, size, embed_new)
    label = text_model.label(name)
    origin = "packaged" if name == text_model.PACKAGED else "pretrained"
    return found, Extractor(TEXT, label, label, origin, weights, chosen)


def side_by_side(parts: Sequence[np.ndarray], path: Path) -> np.ndarray:
    """(C, d_1), (C, d_2), ... to (C, d_1 + d_2 + ...), each part's rows of unit length.

    A cosine is then the mean of the models' cosines, independent of the lengths of their vectors.
    The vectors of a single model are returned unchanged.

    Args:
        parts: the vectors of each model.
        path: of the file that holds the result for several models.
    """
    if len(parts) == 1:
        return parts[0]
    vectors = embeddings.on_disk(path, len(parts[0]), sum(part.shape[1] for part in parts))
    start = 0
    for part in parts:
        columns = slice(start, start + part.shape[1])
        for rows in table.blocks(*part.shape):
            vectors[rows, columns] = table.units(part[rows])
        start = columns.stop
    return vectors


def together(extractors: Sequence[Extractor]) -> Extractor:
    """The origin of concatenated vectors; equal values of a field are named once."""
    fields = [vars(extractor) for extractor in extractors]
    return Extractor(
        **{name: " + ".join(dict.fromkeys(each[name] for each in fields)) for name in fields[0]}
    )
