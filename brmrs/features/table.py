"""The feature table of a modality: features.parquet and meta.json."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from brmrs.columns import ITEM, PRESENT, VECTOR, features
from brmrs.features import feature_table
from brmrs.system.files import write_json

META = "meta.json"
BLOCK_BYTES = 64 << 20  # of vectors in memory, and in a row group


@dataclass(frozen=True)
class Extractor:
    """The origin of the vectors of a table.

    Attributes:
        modality: "text" or "visual".
        label: its name in tables and reports.
        model: name of the model.
        weights: origin of its weights ("packaged", "pretrained", "random", ...).
        weights_sha256: `digest` of them, of imported vectors that of their file (float32); None
            if no item needed them, so that they were not loaded.
        precision: "fp32" or "bf16", of the forward pass; None where there was none.
    """

    modality: str
    label: str
    model: str
    weights: str
    weights_sha256: str | None
    precision: str | None = None


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in the order of their names.

    The digest does not depend on the file format.
    """
    result = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        head = f"{name} {tensor.dtype} {tuple(tensor.shape)}\n"
        result.update(head.encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        result.update(raw.numpy().data)
    return result.hexdigest()


def write(out: Path, rows: np.ndarray, which: np.ndarray, extractor: Extractor) -> None:
    """Write the table in blocks; row i is item i.

    Args:
        out: the folder to write into.
        rows: (C, d) float32, one per distinct content.
        which: (I,) the row of each item; -1 if it has none, its vector is then zeros.
        extractor: written to meta.json, with the sizes.
    """
    items, dimension = len(which), rows.shape[1]
    schema = features(dimension)
    with pq.ParquetWriter(out / feature_table.FILE, schema) as writer:
        for block in blocks(items, dimension):
            part = which[block]
            vectors = np.zeros((len(part), dimension), dtype=np.float32)
            vectors[part >= 0] = rows[part[part >= 0]]
            columns = {
                ITEM: pa.array(np.arange(block.start, block.stop, dtype=np.int32)),
                VECTOR: pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dimension),
                PRESENT: pa.array(part >= 0),
            }
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(part))
    sizes = {"dimension": dimension, "items": items, "present": int((which >= 0).sum())}
    write_json(out / META, {**asdict(extractor), **sizes})


def blocks(rows: int, dimension: int) -> Iterator[slice]:
    """Slices of rows whose vectors take `BLOCK_BYTES` at most."""
    size = max(1, BLOCK_BYTES // (4 * dimension))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def units(vectors: np.ndarray) -> np.ndarray:
    """(R, d) float32 rows of unit length; a row of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: np.ndarray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return result
