"""Embed texts with a sentence-transformers model: tokenised once, batches of equal length, bf16."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from transformers import PreTrainedTokenizerBase

from brmrs.errors import UserError
from brmrs.features import precision
from brmrs.features.precision import Precision, Wanted
from brmrs.system.files import digest_bytes, digest_json
from brmrs.system.workers import side_by_side

Long = Literal["truncate", "mean"]
BUCKET = 32  # tokens; lengths are padded to a multiple of it
TOKENS = 128  # of the text length that `batch_size` is given for
WINDOW = 8192  # texts that are tokenised at once; bounds the memory of tokens
# The texts that the precision is chosen by: various kinds, from one token to a few hundred.
_WORDS = "gift card for a birthday, black leather shoes, size 42; 100% cotton, made in Italy."
_OTHERS = ("a", "日本語のテキスト", "USB-C 3.2 Gen2 10Gbps 1m #1234", "?!", "Übergröße café naïve")
PROBES = (*_OTHERS, *(_WORDS[start:] * times for start, times in enumerate((1, 2, 3, 5, 8, 16))))


def settings_digest(model: SentenceTransformer) -> str:
    """Digest of modules, tokenizer and prompt, which shape the vectors like the weights."""
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    return digest_json(
        {
            "modules": repr(model),
            "config": repr(model.config),
            "tokenizer": digest_bytes(backend.to_str().encode()) if backend else "",
            "prompt": _prompt(model),
        }
    )


def dimension(model: SentenceTransformer) -> int:
    """d, of the model's vectors."""
    return model.get_embedding_dimension() or len(model.encode("a", show_progress_bar=False))


def probe(model: SentenceTransformer) -> np.ndarray:
    """(P, d) vectors of `PROBES`."""
    return embed_all(model, PROBES, batch_size=1)


def in_precision(
    model: SentenceTransformer, wanted: Wanted
) -> tuple[SentenceTransformer, Precision]:
    """The model to run, and its precision (see `brmrs.features.precision`)."""
    return precision.choose(wanted, model, probe)


def embed_all(
    model: SentenceTransformer, texts: Sequence[str], batch_size: int, long: Long = "truncate"
) -> np.ndarray:
    """(T, d) float32 vectors of texts, all at once (see `embed`)."""
    vectors = np.zeros((len(texts), dimension(model)), dtype=np.float32)
    for rows, found in embed(model, texts, batch_size, long):
        vectors[rows] = found
    return vectors


def embed(
    model: SentenceTransformer, texts: Sequence[str], batch_size: int, long: Long
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Embed texts with the prompt, pooling and normalisation of the model.

    The vector of a text does not depend on the other texts, to the last bit. The last bits of a
    matrix product depend on the shapes of its operands, so only few shapes are used. Texts are
    padded to a multiple of `BUCKET` tokens. The number of texts in a batch depends only on that
    length, and the last batch of a length is filled up.

    Args:
        model: the model, on its device.
        texts: (T,) texts.
        batch_size: texts of `TOKENS` tokens in a batch; of shorter ones more, of longer ones fewer.
        long: for texts with more tokens than the model takes. "truncate": the first tokens count.
            "mean": the text is cut into pieces that the model takes; the vector is the mean of the
            vectors of the pieces, of unit length if the model's vectors are.

    Yields:
        (R,) positions in `texts` and (R, d) float32 vectors, in any order.

    Raises:
        UserError: the model cannot cut texts into pieces.
    """
    if not _takes_tokens(model):
        yield from _by_encode(model, texts, batch_size)
        return
    for start in range(0, len(texts), WINDOW):
        for rows, vectors in _window(model, texts[start : start + WINDOW], batch_size, long):
            yield rows + start, vectors


def _takes_tokens(model: SentenceTransformer) -> bool:
    """Whether the model is a transformer over plain text, not over chats or static vectors."""
    return (
        isinstance(model.tokenizer, PreTrainedTokenizerBase) and "message" not in model.modalities
    )


def _by_encode(
    model: SentenceTransformer, texts: Sequence[str], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(texts), batch_size):
        rows = np.arange(start, min(start + batch_size, len(texts)))
        batch = [texts[row] for row in np.resize(rows, batch_size).tolist()]
        found = model.encode(batch, batch_size=batch_size, show_progress_bar=False)
        yield rows, np.asarray(found[: len(rows)], dtype=np.float32)


def _window(
    model: SentenceTransformer, texts: Sequence[str], batch_size: int, long: Long
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    pieces, owner = _pieces(model, texts, long)
    missing = np.bincount(owner, minlength=len(texts))
    counts = missing.copy()
    totals = np.zeros((len(texts), dimension(model)), dtype=np.float32)
    for rows, found in _by_length(model, pieces, batch_size):
        np.add.at(totals, owner[rows], found)
        np.subtract.at(missing, owner[rows], 1)
        done = np.unique(owner[rows])
        done = done[missing[done] == 0]
        yield done, _mean(model, totals[done], counts[done])


def _mean(model: SentenceTransformer, totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means over the pieces of each text; of unit length if the model's vectors are.

    Also for a single piece: bf16 vectors have unit length to three digits only.
    """
    means = totals / counts[:, None].astype(np.float32)
    if not isinstance(model[-1], Normalize):
        return means
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, np.finfo(np.float32).tiny))


def _pieces(
    model: SentenceTransformer, texts: Sequence[str], long: Long
) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Tokens, a list per piece, and the (P,) text that each piece belongs to."""
    if long == "mean" and not (model.tokenizer.is_fast and not _prompt(model)):
        raise UserError(
            "features.text.long_texts: mean needs a model with a fast tokenizer and without a "
            "prompt; set truncate"
        )
    wanted = {
        "text": {"padding": False, "return_overflowing_tokens": long == "mean"},
        "common": {"return_tensors": None},
    }
    found: dict[str, Any] = dict(
        model.preprocess(list(texts), prompt=_prompt(model) or None, processing_kwargs=wanted)
    )
    owner = found.pop("overflow_to_sample_mapping", np.arange(len(texts)))
    return found, np.asarray(owner)


def _by_length(
    model: SentenceTransformer, pieces: dict[str, Any], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Embed pieces in batches of one padded length each, the longest first."""
    lists = {name: values for name, values in pieces.items() if isinstance(values, list)}
    others = {name: values for name, values in pieces.items() if name not in lists}
    limit, d = model.max_seq_length or model.tokenizer.model_max_length, dimension(model)
    lengths = np.array([max(1, len(tokens)) for tokens in lists["input_ids"]])
    lengths = np.minimum(-(-lengths // BUCKET) * BUCKET, limit)

    def batches() -> Iterator[tuple[np.ndarray, Any]]:
        for length in np.unique(lengths)[::-1].tolist():
            size = max(1, batch_size * TOKENS // length)
            places = np.flatnonzero(lengths == length)
            for start in range(0, len(places), size):
                rows = places[start : start + size]
                filled = [{n: v[row] for n, v in lists.items()} for row in np.resize(rows, size)]
                yield (
                    rows,
                    model.tokenizer.pad(
                        filled, padding="max_length", max_length=length, return_tensors="pt"
                    ),
                )

    def vectors(batch: tuple[np.ndarray, Any]) -> tuple[np.ndarray, np.ndarray]:
        rows, tokens = batch
        with torch.inference_mode():
            found = model({**tokens.to(model.device), **others})["sentence_embedding"]
        return rows, found[: len(rows), :d].float().cpu().numpy()

    if model.device.type != "cpu":
        yield from map(vectors, batches())
        return
    with side_by_side() as pool:
        yield from pool.map(vectors, batches())


def _prompt(model: SentenceTransformer) -> str:
    """The prefix that the model adds to every text."""
    return model.prompts.get(model.default_prompt_name or "") or ""
