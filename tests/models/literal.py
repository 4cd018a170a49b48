"""Six users, five items: small enough for a slow, literal transcription of a paper's equations."""

import torch
from torch import Tensor

from brmrs.columns import TEXT, VISUAL
from brmrs.graphs import bipartite
from brmrs.models.base import Batch, Recommender, TrainingData

USERS, ITEMS = 6, 5
TRAIN_USERS = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3, 4])  # user 5 and item 4 have nothing
TRAIN_ITEMS = torch.tensor([0, 1, 1, 2, 0, 0, 2, 3, 3])
TRIPLES = [(0, 0, 2), (1, 1, 3), (3, 2, 4), (3, 3, 1), (5, 4, 0), (0, 1, 3)]  # u, i, j


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def small_data() -> TrainingData:
    """Double precision; item 3 has no text, items 0 and 3 no picture."""
    features = {TEXT: random(ITEMS, 4, seed=0), VISUAL: random(ITEMS, 3, seed=1)}
    present = {m: torch.ones(ITEMS, dtype=torch.bool) for m in features}
    for m, missing in ((TEXT, [3]), (VISUAL, [0, 3])):
        features[m][missing] = 0
        present[m][missing] = False
    return TrainingData(
        users=USERS,
        items=ITEMS,
        train_users=TRAIN_USERS,
        train_items=TRAIN_ITEMS,
        user_item=bipartite.normalised(TRAIN_USERS, TRAIN_ITEMS, USERS, ITEMS),
        features=features,
        present=present,
        categories=torch.tensor([0, 1, 1, 2, 0]),
    )


def batch(negatives: int) -> Batch:
    """The triples, each with further negatives where more than one is asked for."""
    users, positives, first = (torch.tensor(column) for column in zip(*TRIPLES, strict=True))
    drawn = torch.randint(ITEMS, (len(TRIPLES), 8), generator=torch.Generator().manual_seed(7))
    columns = torch.cat([first.unsqueeze(1), drawn], dim=1)
    return Batch(users, positives, columns[:, :negatives])


def spread(model: Recommender, scale: float = 3.0) -> None:
    """Scale all parameters up: scores near 0 would hide an error in a sigmoid."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.mul_(scale).add_(0.1 * random(*parameter.shape, seed=number))


def assert_same(model: Recommender, total: Tensor, literal: Tensor) -> None:
    """Loss and gradient of every parameter agree."""
    torch.testing.assert_close(total, literal, atol=1e-6, rtol=1e-6)
    names, parameters = zip(*model.named_parameters(), strict=True)
    mine = torch.autograd.grad(total, parameters, retain_graph=True)
    theirs = torch.autograd.grad(literal, parameters)
    for name, a, b in zip(names, mine, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=1e-5), name


def total_loss(model: Recommender, triples: Batch) -> Tensor:
    terms = model.loss(triples, torch.Generator())
    return torch.stack(list(terms.values())).sum()
