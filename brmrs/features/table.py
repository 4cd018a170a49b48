"""The feature table of a modality: features.parquet and meta.json."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from brmrs import feature_table
from brmrs.columns import ITEM, PRESENT, VECTOR, features
from brmrs.files import write_json

META = "meta.json"


@dataclass(frozen=True)
class Extractor:
    """Where the vectors of a table come from.

    Attributes:
        modality: "text" or "visual".
        label: what every table and report calls it.
        model: name of the model.
        weights: where its weights come from ("packaged", "hub", "random", ...).
        weights_sha256: `digest` of them; None where they were not loaded, as no item needed them.
    """

    modality: str
    label: str
    model: str
    weights: str
    weights_sha256: str | None


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in the order of their names.

    The same weights have the same digest in whatever file format they came.
    """
    result = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        head = f"{name} {tensor.dtype} {tuple(tensor.shape)}\n"
        result.update(head.encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        result.update(raw.numpy().data)
    return result.hexdigest()


def spread(rows: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Vectors of distinct contents to one vector per item.

    Args:
        rows: (C, d) float32, one per distinct content.
        which: (I,) the row of each item, -1 where it has none.

    Returns:
        (I, d) float32, zeros where `which` is -1.
    """
    vectors = np.zeros((len(which), rows.shape[1]), dtype=np.float32)
    vectors[which >= 0] = rows[which[which >= 0]]
    return vectors


def write(out: Path, vectors: np.ndarray, present: np.ndarray, extractor: Extractor) -> None:
    """Write the table; row i is item i.

    Args:
        out: the folder to write into.
        vectors: (I, d) float32, zeros where not present.
        present: (I,) bool.
        extractor: goes to meta.json, with the sizes.
    """
    items, dimension = vectors.shape
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    columns = {
        ITEM: pa.array(np.arange(items, dtype=np.int32)),
        VECTOR: pa.FixedSizeListArray.from_arrays(flat, dimension),
        PRESENT: pa.array(present),
    }
    pq.write_table(pa.table(columns, schema=features(dimension)), out / feature_table.FILE)
    sizes = {"dimension": dimension, "items": items, "present": int(present.sum())}
    write_json(out / META, {**asdict(extractor), **sizes})
