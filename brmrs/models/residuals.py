"""Residual scores in closed form, added to those of a trained model.

Each score is s(u, .) = sum_{j in N_u} w_j. with an (I, I) matrix W of its own. Nothing is trained
by gradient, and only the training interactions and the items' nearest neighbours enter.
`StandardisedSum` adds the scores to the model's. The residual score that is a second trained model
is in `brmrs.training.beside`.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.columns import FUSED, MODEL
from brmrs.config.residuals import ResidualsConfig
from brmrs.errors import UserError
from brmrs.graphs import modality
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.top_k import largest
from brmrs.models import content_ease, ease
from brmrs.models.base import Scorer, TrainingData
from brmrs.models.item_knn import history, interactions
from brmrs.models.scorers import ItemNeighbours, ItemWeights
from brmrs.models.standardised import StandardisedSum
from brmrs.system.memory import free_memory

CLOSED_FORMS = ("ease", "neighbours", "graph-filter")
DENSE_ITEMS = 10_000  # up to here EASE is solved as one (I, I) matrix, in 12 I^2 bytes
NEIGHBOURS_PER_ITEM = 200  # beyond: co-occurring items that each column of EASE is solved over
BLOCK_COLUMNS = 256  # columns of a sparse EASE extended at once; bounds memory, not the result


def refuse_what_cannot_be_fitted(config: ResidualsConfig, data: TrainingData) -> None:
    """Check before the training that the residual scores can be fitted after it.

    Raises:
        UserError: a score needs graphs that the data lack, or more memory than is free.
    """
    if config.reading_neighbours and not data.modality_graphs:
        raise UserError(
            f"model.residuals.{config.reading_neighbours[0]} needs the nearest neighbours of the "
            "items' texts or pictures, and the data have none; set it to 0"
        )
    dense = config.ease > 0 and data.items <= DENSE_ITEMS
    needed, free = ease.BYTES_PER_PAIR * data.items**2 * dense, free_memory(data.device)
    if free is not None and needed > free:
        raise UserError(
            f"model.residuals.ease needs about {needed / 1e9:.1f} GB of memory for {data.items:,} "
            f"items, and {free / 1e9:.1f} GB are free; set it to 0"
        )


def fitted(config: ResidualsConfig, data: TrainingData) -> dict[str, Scorer]:
    """The closed forms whose weight is above 0, by branch name, in the order of
    `columns.RESIDUALS`.

    Args:
        config: the weights and settings.
        data: the training split and the graphs.
    """
    return {name: _fit(name, config, data) for name in config.weights if name in CLOSED_FORMS}


def _fit(name: str, config: ResidualsConfig, data: TrainingData) -> Scorer:
    """The scorer of one of the `CLOSED_FORMS`."""
    if name == "ease":
        return _ease(data, config)
    if name == "neighbours":
        near = content_ease.nearest(data.modality_graphs, config.visual_weight)
        return _scorer(data, _scipy(near))
    return _scorer(data, _filter(interactions(data)))


def added(
    branches: Mapping[str, Scorer], residuals: Mapping[str, Scorer], weights: Mapping[str, float]
) -> dict[str, Scorer]:
    """The branches of a model whose fused branch is the sum with the residual scores.

    Args:
        branches: of the trained model.
        residuals: the scores to add, by branch name.
        weights: of the residual scores; the model's is 1.

    Returns:
        The branches, with the model's own fused one as `MODEL`, and the residual scores.
    """
    parts = {MODEL: branches[FUSED], **residuals}
    values = torch.tensor([1.0, *(weights[name] for name in residuals)], dtype=torch.float32)
    return {**branches, **parts, FUSED: StandardisedSum(values.to(_device(parts)), parts)}


def _device(parts: Mapping[str, Scorer]) -> torch.device:
    return next(v.device for v in vars(parts[MODEL]).values() if isinstance(v, Tensor))


def _ease(data: TrainingData, config: ResidualsConfig) -> Scorer:
    """EASE, extended to neighbours by content as in `content_ease` if the settings say so.

    Dense up to `DENSE_ITEMS` items; beyond, over co-occurring items only, and with the
    `NEIGHBOURS_PER_ITEM` largest weights of each column.
    """
    r, steps = interactions(data), (config.ease_history, config.ease_candidates)
    near = None
    if any(steps):
        graph = content_ease.nearest(data.modality_graphs, config.visual_weight)
        near = content_ease.normalised(graph)
    if data.items <= DENSE_ITEMS:
        weights = ease.item_weights(r, config.ridge, data.device)
        if near is not None:
            weights = content_ease.extended(weights, near, *steps)
        return ItemWeights(*history(r, data.device), weights)
    sparse = co_occurring_ease(r, config.ridge, NEIGHBOURS_PER_ITEM)
    if near is not None:
        sparse = extended(sparse, _scipy(near), *steps, NEIGHBOURS_PER_ITEM)
    return _scorer(data, sparse)


def extended(
    weights: sp.csr_matrix, near: sp.csr_matrix, of_history: float, of_candidates: float, k: int
) -> sp.csr_matrix:
    """(I + c K~) B (I + d K~) with the k entries of each column that are largest in size.

    Args:
        weights: (I, I) B.
        near: (I, I) K~, symmetric.
        of_history: c.
        of_candidates: d.
        k: entries of a column, at most.
    """
    n_items = weights.shape[0]
    one = sp.identity(n_items, dtype=np.float32, format="csr")
    left = sp.csr_matrix(one + of_history * near)
    right = sp.csc_matrix(one + of_candidates * near)
    columns = []
    for start, stop in pairwise([*range(0, n_items, BLOCK_COLUMNS), n_items]):
        block = sp.coo_matrix((left @ (weights @ right[:, start:stop])).T.tocsr())
        kept = largest(block.row, np.abs(block.data), k)
        ends = block.row[kept], block.col[kept]
        columns.append(sp.csr_matrix((block.data[kept], ends), shape=block.shape))
    return sp.csr_matrix(sp.vstack(columns).T)


def co_occurring_ease(r: sp.csr_matrix, ridge: float, k: int) -> sp.csr_matrix:
    """EASE with at most k entries in each column, those of the items with the most common users.

    Column j solves (G_NN + ridge I) b = G_Nj over these items N, so no (I, I) matrix is needed.

    Args:
        r: (U, I) the training interactions.
        ridge: the penalty.
        k: entries of a column.
    """
    gram = sp.csr_matrix(r.T @ r)
    gram.sort_indices()
    columns = [*_columns(gram, ridge, k)]
    rows = np.concatenate([near for near, _ in columns])
    ends = np.repeat(np.arange(len(columns)), [len(near) for near, _ in columns])
    values = np.concatenate([b for _, b in columns]).astype(np.float32)
    return sp.csr_matrix((values, (rows, ends)), shape=gram.shape)


def _columns(
    gram: sp.csr_matrix, ridge: float, k: int
) -> Iterator[tuple[NDArray[np.integer], NDArray[np.float64]]]:
    """For each item, its (n,) most frequent co-occurring items and their weights, n <= k."""
    for item, (start, stop) in enumerate(zip(gram.indptr[:-1], gram.indptr[1:], strict=True)):
        others, common = gram.indices[start:stop], gram.data[start:stop]
        others, common = others[others != item], common[others != item]
        kept = largest(np.zeros_like(others), common, k)
        near, moment = others[kept], common[kept].astype(np.float64)
        square = gram[near][:, near].toarray().astype(np.float64)
        square.flat[:: len(near) + 1] += ridge
        yield near, np.linalg.solve(square, moment)


def _scipy(graph: SparseMatrix) -> sp.csr_matrix:
    """The same matrix on the CPU, as scipy's."""
    rows, columns, values = modality.edges(graph)
    ends = rows.cpu().numpy(), columns.cpu().numpy()
    return sp.csr_matrix((values.cpu().numpy(), ends), shape=graph.shape)


def _filter(r: sp.csr_matrix) -> sp.csr_matrix:
    """D_i^-1/2 R~' R~ with R~ = D_u^-1/2 R D_i^-1/2, so that R times it is R~ R~' R~ up to D_u.

    The factor D_u^-1/2 of a user vanishes when the scores are standardised.
    """
    users, items = (np.maximum(np.asarray(r.sum(axis)).ravel(), 1) for axis in (1, 0))
    normalised = sp.diags(users**-0.5) @ r @ sp.diags(items**-0.5)
    return sp.csr_matrix(sp.diags(items**-0.5) @ (normalised.T @ normalised), dtype=np.float32)


def _scorer(data: TrainingData, weights: sp.csr_matrix) -> ItemNeighbours:
    """The scorer of a sparse (I, I) matrix."""
    weights.sort_indices()
    parts = {
        "indptr": torch.from_numpy(weights.indptr.astype(np.int64)),
        "columns": torch.from_numpy(weights.indices.astype(np.int64)),
        "weights": torch.from_numpy(weights.data.astype(np.float32)),
    }
    moved = {name: part.to(data.device) for name, part in parts.items()}
    return ItemNeighbours(*history(interactions(data), data.device), **moved)
