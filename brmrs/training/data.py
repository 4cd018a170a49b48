"""From artifacts to `TrainingData`: the training split, the features and the graphs."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brmrs.columns import MODALITIES, VISUAL
from brmrs.config.features import ReplaceConfig, Replacement
from brmrs.errors import UserError
from brmrs.features import feature_table
from brmrs.features.replaced import replaced
from brmrs.graphs import bipartite, homogeneous
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import TrainingData

NOTHING_REPLACED = ReplaceConfig()


def assemble(
    train: UserItems,
    features: Mapping[str, Path],
    graphs: Path | None,
    categories: Sequence[Sequence[str]],
    replace: ReplaceConfig = NOTHING_REPLACED,
) -> TrainingData:
    """The training data of a recommender, on the device of `train`.

    Args:
        train: the training items of each user.
        features: the feature folder of each modality, of those that the model reads.
        graphs: the folder that the stage `graphs` wrote; None for a model that reads no graph.
        categories: the category path of each item, the most specific last.
        replace: what takes the place of the features.

    Raises:
        UserError: feature maps would have to be replaced.
    """
    on = train.items.device
    n_users, n_items = train.n_users, train.n_items
    vectors, present = {}, {}
    for modality, folder in features.items():
        x, mask = feature_table.read(folder / feature_table.FILE)
        x, mask = replaced(x, mask, getattr(replace, modality), replace.seed)
        if mask.any():
            vectors[modality] = torch.from_numpy(x).to(on)
            present[modality] = torch.from_numpy(mask).to(on)
    return TrainingData(
        users=n_users,
        items=n_items,
        train_users=train.users,
        train_items=train.items,
        user_item=bipartite.normalised(train.users, train.items, n_users, n_items),
        features=vectors,
        present=present,
        categories=most_specific(categories).to(on),
        regions=regions(features[VISUAL], replace.visual) if VISUAL in features else None,
        **(homogeneous_graphs(graphs, n_users, n_items, on) if graphs else {}),
    )


def homogeneous_graphs(
    folder: Path, n_users: int, n_items: int, on: torch.device
) -> dict[str, Any]:
    """The fields of `TrainingData` that the stage `graphs` makes."""
    neighbours = {m: homogeneous.read(folder / f"{m}.parquet", n_items) for m in MODALITIES}
    return {
        "item_graph": homogeneous.load(folder / "item.parquet", n_items).to(on),
        "user_graph": homogeneous.load(folder / "user.parquet", n_users).to(on),
        "modality_graphs": {
            m: SparseMatrix.from_scipy(cosines).to(on)
            for m, cosines in neighbours.items()
            if cosines.nnz > 0
        },
    }


def regions(folder: Path, how: Replacement = "none") -> Tensor | None:
    """(I, K, D) float16 feature maps of the pictures, mapped into memory; None without any.

    The mapping is read-only: writing into the tensor kills the process.

    Raises:
        UserError: they would have to be permuted or replaced by noise.
    """
    maps = feature_table.regions(folder)
    if maps is None or how == "removed":
        return None
    if how != "none":
        raise UserError(
            f"features.replace.visual={how} replaces no feature maps; set it to removed, or "
            "features.visual.regions to false"
        )
    with warnings.catch_warnings(action="ignore"):  # torch cannot mark a tensor as read-only
        return torch.from_numpy(maps).flatten(1, 2)


def most_specific(categories: Sequence[Sequence[str]]) -> Tensor:
    """(I,) int64, the last category of each item's path, numbered in sorted order.

    Items without categories share one extra category.
    """
    names = [path[-1] if path else "" for path in categories]
    return torch.from_numpy(np.unique(names, return_inverse=True)[1].astype(np.int64))
