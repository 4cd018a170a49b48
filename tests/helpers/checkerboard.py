"""Small data whose right answer is known, and the plainest training loop."""

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from brmrs.columns import TEXT, VISUAL
from brmrs.graphs import bipartite, homogeneous
from brmrs.graphs.nearest import nearest
from brmrs.graphs.similarity import Modality, Similarity
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.stage import user_means
from brmrs.models.base import Batch, Recommender, TrainingData

USERS, ITEMS = 32, 24
UNSEEN_USER = USERS - 1  # trains nothing
BARE_ITEM = 5  # has no text and no picture


def masks() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(U, I) training and held-out masks: like likes like by parity, a diagonal band is held out.

    Only the parity tells a held-out pair from a negative one.
    """
    users, items = np.arange(USERS)[:, None], np.arange(ITEMS)[None, :]
    same = users % 2 == items % 2
    band = (users // 2 - items // 2) % 6 == 0
    held_out = same & band
    held_out[UNSEEN_USER] = False
    train = same & ~band
    train[UNSEEN_USER] = False
    return train, held_out


def nearest_of(similarity: Similarity) -> sp.csr_matrix:
    edges = nearest(similarity, k=4, block_bytes=2**20)
    size = similarity.neighbours.shape[0]
    return sp.csr_matrix((edges.weights, (edges.rows, edges.columns)), shape=(size, size))


def graph(neighbours: sp.csr_matrix, modalities: dict[str, Modality]) -> SparseMatrix:
    similarity = Similarity(neighbours, modalities, {TEXT: 0.5, VISUAL: 0.5}, 0.5, "cosine")
    return SparseMatrix.from_scipy(homogeneous.row_normalised(nearest_of(similarity)))


def make_data(modalities: tuple[str, ...] = (TEXT, VISUAL)) -> TrainingData:
    """The checkerboard; the features are noise, so that only interactions tell the parity."""
    train, _ = masks()
    users, items = (torch.tensor(ends) for ends in np.nonzero(train))
    generator = np.random.default_rng(0)
    drawn = {}
    for m, width, missing in ((TEXT, 8, [BARE_ITEM]), (VISUAL, 6, [BARE_ITEM, 8, 9])):
        vectors = generator.normal(size=(ITEMS, width)).astype(np.float32)
        present = np.ones(ITEMS, dtype=bool)
        present[missing] = False
        vectors[missing] = 0
        drawn[m] = (vectors, present)
    features = {m: drawn[m] for m in modalities}
    matrix = sp.csr_matrix(train.astype(float))
    of_items = {m: Modality.of(*table) for m, table in features.items()}
    of_users = {m: Modality.of(*user_means(matrix, *table)) for m, table in features.items()}
    return TrainingData(
        users=USERS,
        items=ITEMS,
        train_users=users,
        train_items=items,
        user_item=bipartite.normalised(users, items, USERS, ITEMS),
        features={m: torch.tensor(vectors) for m, (vectors, _) in features.items()},
        present={m: torch.tensor(present) for m, (_, present) in features.items()},
        item_graph=graph(sp.csr_matrix(matrix.T), of_items),
        user_graph=graph(matrix, of_users),
        modality_graphs={
            m: SparseMatrix.from_scipy(
                nearest_of(Similarity(sp.csr_matrix(matrix.T), {m: table}, {m: 1.0}, 0.0, "count"))
            )
            for m, table in of_items.items()
        },
    )


def sample(data: TrainingData, negatives: int, generator: torch.Generator) -> Batch:
    """All training pairs with uniform negatives, by rejection."""
    known = torch.zeros(data.users, data.items, dtype=torch.bool)
    known[data.train_users, data.train_items] = True
    shape = (len(data.train_users), negatives)
    drawn = torch.randint(data.items, shape, generator=generator)
    while (bad := known[data.train_users.unsqueeze(1), drawn]).any():
        redrawn = torch.randint(data.items, shape, generator=generator)
        drawn = torch.where(bad, redrawn, drawn)
    return Batch(data.train_users, data.train_items, drawn)


def train(model: Recommender, data: TrainingData, steps: int) -> list[float]:
    """Full-batch Adam, one step an epoch; gives the loss of each."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    curve = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        model.begin_epoch(generator)
        batch = sample(data, model.n_negatives, generator)
        loss = torch.stack(list(model.loss(batch, generator).values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        curve.append(loss.item())
    return curve
