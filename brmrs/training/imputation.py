"""Vectors for items that lack a modality (`features.imputation`)."""

from dataclasses import replace

import torch
from torch import Tensor

from brmrs.config.features import Imputation
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models.base import TrainingData


def imputed(data: TrainingData, how: Imputation) -> TrainingData:
    """The data with a vector for every item. Models treat imputed vectors like others.

    `present` becomes true for all items, because models leave items without a modality out of
    losses and sums.

    Args:
        data: with zeros where a modality is not present.
        how: "zeros"; "mean", the mean of the items that have the modality; "neighbours", the mean
            of the neighbours in the item graph that have it, weighted by the graph. Without such a
            neighbour, "neighbours" takes the mean of all items.
    """
    if how == "zeros":
        return data
    graph = data.item_graph if how == "neighbours" else None
    filled = {
        modality: _filled(vectors, data.present[modality], graph)
        for modality, vectors in data.features.items()
    }
    present = {modality: torch.ones_like(mask) for modality, mask in data.present.items()}
    return replace(data, features=filled, present=present)


def _filled(vectors: Tensor, present: Tensor, graph: SparseMatrix | None) -> Tensor:
    """(I, d) vectors with the rows that are not present filled in."""
    stand_in = vectors[present].mean(dim=0).expand_as(vectors)
    if graph is not None:
        weights = graph @ present.to(vectors.dtype).unsqueeze(1)
        means = (graph @ vectors) / weights.clamp(min=torch.finfo(vectors.dtype).tiny)
        stand_in = torch.where(weights > 0, means, stand_in)
    return torch.where(present.unsqueeze(1), vectors, stand_in)
