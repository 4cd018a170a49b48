"""Data with planted synergy, for bench/planted_synergy.py and bench/planted_probe.py."""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from brmrs.columns import (
    ADDITIVE,
    ASIN,
    MODALITIES,
    NO_PART,
    PARTS,
    REDUNDANT,
    SPLIT_NAMES,
    SYNERGY,
    TEST,
    TEXT,
    TEXT_UNIQUE,
    TYPE,
    USER_ID,
    VALIDATION,
    VISUAL,
    VISUAL_UNIQUE,
)
from brmrs.config.learning import GraphsConfig
from brmrs.config.load import load
from brmrs.graphs import bipartite, homogeneous
from brmrs.graphs.nearest import nearest
from brmrs.graphs.similarity import Similarity
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.stage import by_modality, item_similarity, user_similarity
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import TrainingData
from brmrs.sample.latent import Strengths, World, draw_interactions, draw_world
from brmrs.sample.write import write_sample
from brmrs.stages import SPLIT, needed
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute, inputs_of
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record
from brmrs.training.stage import Prepared, prepare

Ints = NDArray[np.int64]

TYPES = (*PARTS, NO_PART)
OTHERS = 0.6  # strength of the other parts


@dataclass(frozen=True)
class Data:
    """One data set.

    Attributes:
        training: what a model gets.
        train: the training items.
        held_out: by split, "validation" and "test".
        types: by split, (N,) index in `TYPES` of the held-out items; -1 where the truth has none.
        asins: the items of a dump, in the order of the dense ids.
    """

    training: TrainingData
    train: UserItems
    held_out: dict[str, UserItems]
    types: dict[str, Ints]
    asins: tuple[str, ...] = ()


def strengths(synergy: float) -> Strengths:
    """Of a data set."""
    return Strengths(OTHERS, OTHERS, OTHERS, synergy, OTHERS)


@cache
def of_attributes(synergy: float, users: int, items: int, seed: int, products: bool) -> Data:
    """The features are what texts and pictures show, so no model has to read it from them.

    Of each user one interaction tests and one validates, chosen at random.

    Args:
        synergy: its strength.
        users: U.
        items: I.
        seed: of the world, the interactions and the split.
        products: whether the text also shows the products, which makes them unique to it.
    """
    rng = np.random.default_rng(seed)
    world = draw_world(rng, users, items, strengths(synergy))
    user, item, kind = draw_interactions(rng, world.contributions())
    order = np.lexsort((rng.random(len(user)), user))
    place = np.empty_like(order)
    place[order] = np.arange(len(user)) - np.searchsorted(user, user[order])  # 0, 1, ... per user
    parts = {"train": place > 1, SPLIT_NAMES[VALIDATION]: place == 0, SPLIT_NAMES[TEST]: place == 1}
    sets, types = {}, {}
    for name, chosen in parts.items():
        of_users, of_items = (torch.from_numpy(x[chosen]) for x in (user, item))
        sets[name] = UserItems.from_pairs(of_users, of_items, users, items)
        by_pair = np.lexsort((item[chosen], user[chosen]))
        types[name] = kind[chosen][by_pair]
    train = sets.pop("train")
    return Data(training_data(train, shown(world, products)), train, sets, types)


def shown(world: World, products: bool) -> dict[str, NDArray[np.float32]]:
    """The attributes by modality, (I, d)."""
    z = world.items
    features = {
        TEXT: [z[TEXT_UNIQUE], z[ADDITIVE] @ world.text_half.T, z[REDUNDANT], world.text_signs],
        VISUAL: [
            z[VISUAL_UNIQUE],
            z[ADDITIVE] @ world.visual_half.T,
            z[REDUNDANT],
            world.visual_signs,
        ],
    }
    if products:
        features[TEXT].append(z[SYNERGY])
    return {name: np.hstack(parts).astype(np.float32) for name, parts in features.items()}


def training_data(train: UserItems, features: dict[str, NDArray[np.float32]]) -> TrainingData:
    """With the graphs of the default configuration; every item has every modality."""
    config, (users, items) = GraphsConfig(), (train.n_users, train.n_items)
    everywhere = {name: (x, np.ones(items, dtype=bool)) for name, x in features.items()}
    ends, ones = (train.users.numpy(), train.items.numpy()), np.ones(len(train.items))
    matrix = sp.csr_matrix((ones, ends), shape=(users, items))
    of_items = item_similarity(matrix, everywhere, config)

    def graph(similarity: Similarity, k: int) -> sp.csr_matrix:
        edges, size = nearest(similarity, k, config.block_bytes), similarity.neighbours.shape[0]
        return sp.csr_matrix((edges.weights, (edges.rows, edges.columns)), shape=(size, size))

    def normalised(similarity: Similarity, k: int) -> SparseMatrix:
        return SparseMatrix.from_scipy(homogeneous.row_normalised(graph(similarity, k)))

    return TrainingData(
        users=users,
        items=items,
        train_users=train.users,
        train_items=train.items,
        user_item=bipartite.normalised(train.users, train.items, users, items),
        features={name: torch.from_numpy(x) for name, x in features.items()},
        present={name: torch.ones(items, dtype=torch.bool) for name in features},
        item_graph=normalised(of_items, config.k),
        user_graph=normalised(user_similarity(matrix, everywhere, config), config.user_k),
        categories=torch.zeros(items, dtype=torch.int64),
        modality_graphs={
            name: SparseMatrix.from_scipy(graph(by_modality(of_items, name), config.k))
            for name in MODALITIES
        },
    )


@cache
def of_models(
    root: Path, synergy: float, users: int, items: int, settings: tuple[str, ...]
) -> Data:
    """The features are vectors of the texts and pictures of a sample dump, by the stages.

    Dumps of other strengths have the same texts and pictures, so these are embedded once. Each
    user's last interaction tests, the one before validates. The 5-core is off, because it would
    remove most items.

    Args:
        root: folder of dumps and artifacts; what is there is used.
        synergy: its strength.
        users: U, about.
        items: I, about.
        settings: of the stages, such as "features.visual.backbone=vgg16".
    """
    dump, store = dump_of(root, synergy), ArtifactStore(root / "store")
    write_sample(dump, users=users, items=items, strengths=strengths(synergy))
    own = ("ingest.k=0", "split.protocol=leave-last-out")
    config = load(dump / "config.yaml", (*own, *settings))
    records: dict[str, Record] = {}
    *before, last = needed(config, "train")
    for stage in before:
        print(f"synergy {synergy:g}: {stage.name}", file=sys.stderr, flush=True)
        upstream = {name: records[name].artifact for name in stage.upstream}
        records[stage.name] = execute(
            stage, config, fingerprint(config), upstream, store, "planted-synergy"
        )
    upstream = {name: records[name].artifact for name in last.upstream}
    inputs = inputs_of(last, upstream, store)
    ready = prepare(inputs, config)
    test = UserItems.read(inputs[SPLIT], TEST, len(ready.users), len(ready.items))
    held_out = {SPLIT_NAMES[VALIDATION]: ready.validation, SPLIT_NAMES[TEST]: test}
    truth = pq.read_table(dump / "truth" / "interactions.parquet")
    types = {name: types_of(truth, ready, of) for name, of in held_out.items()}
    return Data(ready.data, ready.train, held_out, types, tuple(ready.items))


def dump_of(root: Path, synergy: float) -> Path:
    """The folder of a dump."""
    return root / f"synergy-{synergy:g}"


def types_of(truth: pa.Table, ready: Prepared, held_out: UserItems) -> Ints:
    """(N,) index in `TYPES` of each held-out interaction; -1 for users outside the truth."""
    columns = (truth[name].to_pylist() for name in (USER_ID, ASIN, TYPE))
    known = {(user, item): TYPES.index(of) for user, item, of in zip(*columns, strict=True)}
    pairs = zip(held_out.users.tolist(), held_out.items.tolist(), strict=True)
    return np.array([known.get((ready.users[u], ready.items[i]), -1) for u, i in pairs])
