"""A small model bundle: three users, four items, two branches."""

import torch

from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.models.bundle import Bundle, Description, Feature

USERS, ITEMS = 3, 4


def make() -> Bundle:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(n, 4, generator=generator) for n in (USERS, ITEMS))
    branches = {"fused": Branch(p, q), "text": Branch(p[:, :2], q[:, :2])}  # views of one tensor
    feature = Feature(label="noise", weights_sha256=None, items=ITEMS, present=2, used=True)
    about = Description(
        model={"name": "toy", "dim": 2},
        train={"seed": 0},
        best_epoch=7,
        validation={"recall@20": 0.5},
        features={"text": feature},
        users=("ann", "bob", "c/é"),
        items=("B1", "B2", "B3", "B4"),
    )
    seen = UserItems.from_pairs(torch.tensor([0, 0, 2]), torch.tensor([1, 3, 0]), USERS, ITEMS)
    return Bundle(about, branches, seen, {"p": p, "net.weight": q})
