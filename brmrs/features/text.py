"""The stage `text_features`: one vector per item from its title, brand, categories, description."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from huggingface_hub import HfApi
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from brmrs import progress, text_model
from brmrs.columns import CATEGORIES, TEXT
from brmrs.config import IMPORTED
from brmrs.errors import UserError
from brmrs.features import imported, table, template
from brmrs.features.patching import PATCHING
from brmrs.stages import ITEMS, StageContext

LOG = logging.getLogger(__name__)
BUCKET = 16  # tokens; lengths are padded to a multiple of it
HUB_TIMEOUT = 10.0  # seconds


def run(context: StageContext) -> None:
    """Embed the items' texts; writes features.parquet and meta.json.

    Raises:
        UserError: the model cannot be loaded.
    """
    config = context.config.features.text
    if config.model == IMPORTED:
        imported.run(context, TEXT, config.label)
        return
    items = pq.read_table(context.inputs[ITEMS], columns=list(template.FIELDS))
    texts = render(items, config.template)
    with PATCHING:
        model = load(config.model)
    distinct = sorted({text for text in texts if text})
    rows = {text: row for row, text in enumerate(distinct)}
    which = np.array([rows.get(text, -1) for text in texts], dtype=np.int64)
    vectors = table.spread(embed(model, distinct, config.batch_size), which)
    LOG.info("text features: %d of %d items have text", (which >= 0).sum(), len(texts))
    table.write(context.out, vectors, which >= 0, _extractor(config.model, model))


def render(items: pa.Table, pattern: str) -> list[str]:
    """The text of each item by the template (see `template.parse`); "" where it has none.

    Args:
        items: the columns of `template.FIELDS`.
        pattern: the template.
    """
    parsed = template.parse(pattern)
    return [
        parsed.render({**item, CATEGORIES: ", ".join(name for name in item[CATEGORIES] if name)})
        for item in items.to_pylist()
    ]


def load(name: str) -> SentenceTransformer:
    """A sentence-transformers model: the packaged one, a folder, or an id of the hub.

    Raises:
        UserError: there is none, or it cannot be had.
    """
    source = text_model.resolve(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # From the disk first: a model that is there needs no network.
        return SentenceTransformer(str(source), device=device, local_files_only=True)
    except Exception as error:  # whatever its files make the library raise
        if isinstance(source, Path):
            raise UserError(
                f"features.text.model: {source} is no sentence-transformers model "
                f"({_one_line(error)}); give the folder that `model.save` wrote"
            ) from error
    try:
        # Asks once; the library itself would try for a minute where there is no network.
        HfApi().model_info(source, timeout=HUB_TIMEOUT)
        return SentenceTransformer(source, device=device)
    except Exception as error:  # the hub's client and the library have no common class
        raise UserError(
            f"features.text.model: {name} is neither in the hub's cache nor could it be fetched "
            f"({_one_line(error)}); connect to the network, give a folder that holds the model, or "
            f"use {text_model.PACKAGED}"
        ) from error


def embed(model: SentenceTransformer, texts: Sequence[str], batch_size: int) -> np.ndarray:
    """Embed texts as the model does (its prompt, pooling and normalisation; longer ones cut).

    A text has the same bytes whatever the other texts are. The last bits of a matrix product
    depend on the shapes of its operands, so each batch has one of few shapes: exactly `batch_size`
    texts, padded to one multiple of `BUCKET` tokens; the last batch of a length is filled up.

    Args:
        model: the model, on its device.
        texts: (T,) distinct texts.
        batch_size: texts in a batch.

    Returns:
        (T, d) float32.
    """
    dimension = model.get_embedding_dimension()
    if dimension is None:
        dimension = len(model.encode("a", show_progress_bar=False))
    vectors = np.zeros((len(texts), dimension), dtype=np.float32)
    lengths = _padded_lengths(model, texts)
    with progress.task("Embedding texts", len(texts)) as task:
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                filled = np.resize(batch, batch_size)
                with (
                    PATCHING
                ):  # a batch at a time: the visual stage waits for its turn, not for all
                    found = _encode(model, [texts[int(row)] for row in filled], int(length))
                vectors[batch] = found[: len(batch)]
                task.advance(len(batch))
    return vectors


def _padded_lengths(model: SentenceTransformer, texts: Sequence[str]) -> np.ndarray:
    """(T,) token counts that the texts are padded to; 0 where the model pads nothing."""
    tokenizer = model.tokenizer
    if not texts or not isinstance(tokenizer, PreTrainedTokenizerBase):
        return np.zeros(len(texts), dtype=np.int64)
    prompt = model.prompts.get(model.default_prompt_name or "") or ""
    limit = model.max_seq_length or tokenizer.model_max_length
    encoded = tokenizer([prompt + text for text in texts], truncation=True, max_length=limit)
    lengths = np.array([len(tokens) for tokens in encoded["input_ids"]], dtype=np.int64)
    return np.minimum(-(-lengths // BUCKET) * BUCKET, limit)


def _encode(model: SentenceTransformer, texts: list[str], length: int) -> np.ndarray:
    """(B,) texts, padded to `length` tokens, to (B, d) vectors."""
    padding: dict[str, Any] = {"padding": "max_length", "max_length": length}
    return model.encode(
        texts,
        batch_size=len(texts),
        show_progress_bar=False,
        processing_kwargs={"text": padding} if length else {},
    )


def _extractor(name: str, model: SentenceTransformer) -> table.Extractor:
    """What made the vectors; a folder goes by its name, wherever it lies."""
    source = text_model.resolve(name)
    label = source.name if isinstance(source, Path) and name != text_model.PACKAGED else name
    return table.Extractor(
        modality=TEXT,
        label=label,
        model=label,
        weights="packaged" if name == text_model.PACKAGED else "pretrained",
        weights_sha256=table.digest(model.state_dict()),
    )


def _one_line(error: Exception) -> str:
    """The first line of the message, or the class where there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
