"""Features of one modality replaced by others: does the model need what they say?

Graphs and training must replace in the same way, or the graphs still hold what was replaced.
"""

import numpy as np
from numpy.typing import NDArray

from brmrs.config.features import Replacement

Vectors = NDArray[np.float32]
Mask = NDArray[np.bool_]


def replaced(vectors: Vectors, present: Mask, how: Replacement, seed: int) -> tuple[Vectors, Mask]:
    """The vectors that take the place of a modality's, and which items have one.

    Args:
        vectors: (I, d), zero where not present.
        present: (I,).
        how: "none": as they are; "permuted": the vectors are permuted at random among the
            items that have the modality, so single items may keep theirs; "noise": normal
            vectors of the same lengths; "removed": no item has the modality.
        seed: of the draw.
    """
    if how == "none":
        return vectors, present
    if how == "removed":
        return np.zeros_like(vectors), np.zeros_like(present)
    if how == "permuted":
        return vectors[sources(present, seed)], present
    noise = np.random.default_rng(seed).standard_normal(vectors.shape, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    noise *= lengths / np.linalg.norm(noise, axis=1, keepdims=True)
    return noise, present


def sources(present: Mask, seed: int) -> NDArray[np.int64]:
    """(I,) the item whose vector each item gets: a permutation of the items that have one.

    Args:
        present: (I,).
        seed: of the permutation.
    """
    of = np.arange(len(present))
    (own,) = present.nonzero()
    of[own] = np.random.default_rng(seed).permutation(own)
    return of
