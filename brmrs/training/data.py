"""From artifacts to `TrainingData`: the training split, the features and the graphs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from brmrs.columns import PRESENT, VECTOR
from brmrs.graphs import bipartite, homogeneous
from brmrs.models.base import TrainingData
from brmrs.user_items import UserItems


def assemble(train: UserItems, features: Mapping[str, Path], graphs: Path) -> TrainingData:
    """Everything that a recommender may know, on the device of `train`.

    Args:
        train: the training items of each user.
        features: the feature folder of each modality.
        graphs: the folder with `item.parquet` and `user.parquet`.
    """
    on = train.items.device
    n_users, n_items = train.n_users, train.n_items
    vectors, present = {}, {}
    for modality, folder in features.items():
        x, mask = read_features(folder / "features.parquet")
        if bool(mask.any()):
            vectors[modality], present[modality] = x.to(on), mask.to(on)
    return TrainingData(
        users=n_users,
        items=n_items,
        train_users=train.users,
        train_items=train.items,
        user_item=bipartite.normalised(train.users, train.items, n_users, n_items),
        features=vectors,
        present=present,
        item_graph=homogeneous.load(graphs / "item.parquet", n_items).to(on),
        user_graph=homogeneous.load(graphs / "user.parquet", n_users).to(on),
    )


def read_features(path: Path) -> tuple[Tensor, Tensor]:
    """Read a feature table: (I, d) float32 vectors and the (I,) bool mask of present ones."""
    table = pq.read_table(path, columns=[VECTOR, PRESENT])
    flat = table[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    present = table[PRESENT].to_numpy()
    vectors = np.array(flat, dtype=np.float32).reshape(len(present), -1)
    return torch.from_numpy(vectors), torch.from_numpy(np.array(present, dtype=bool))
