"""The graph stage: homogeneous graphs of items and users, neighbours of items by each modality.

Graphs are built from training interactions only.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

from brmrs.columns import (
    COLUMN,
    EDGES,
    ITEM,
    MODALITIES,
    ROW,
    SPLIT,
    TEXT,
    TRAIN,
    USER,
    VISUAL,
    WEIGHT,
)
from brmrs.config.features import Replacement
from brmrs.config.learning import GraphsConfig
from brmrs.errors import UserError
from brmrs.features import feature_table
from brmrs.features.replaced import replaced, sources
from brmrs.graphs import approximate
from brmrs.graphs.nearest import nearest
from brmrs.graphs.similarity import Edges, KnownCosines, Modality, Similarity
from brmrs.stages import FEATURE_TABLES, GIVEN, GIVEN_KNN, StageContext
from brmrs.stages import SPLIT as SPLIT_TABLE
from brmrs.system.files import write_json

CO_OCCURRENCE = "co_occurrence"

Features = Mapping[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]


def run(context: StageContext) -> None:
    """Write item, user, text and visual .parquet (EDGES) and statistics.json."""
    config = context.config.graphs
    tables = {name: context.inputs[file] for name, file in FEATURE_TABLES.items()}
    replace = context.config.features.replace
    features = {
        name: replaced(*feature_table.read(table), getattr(replace, name), replace.seed)
        for name, table in tables.items()
    }
    items = len(features[TEXT][1])
    train = training_matrix(context.inputs[SPLIT_TABLE], items)
    # A new item is in no graph: its features place it after training.
    nodes = np.diff(train.tocsc().indptr) > 0
    if context.config.split.protocol != "cold-items":
        nodes = np.ones(items, dtype=bool)
    features = {name: (x, present & nodes) for name, (x, present) in features.items()}
    if config.modality == "knn":
        folders = {name: context.inputs[GIVEN[name]] for name in MODALITIES}
        of = {
            name: known_order(tables[name], getattr(replace, name), replace.seed) for name in tables
        }
        known = known_cosines(folders, items, nodes, of)
        of_items = similarity_of_items(train, known, config)
        of_users = user_similarity(train, {}, config)
    else:
        of_items = item_similarity(train, features, config)
        of_users = user_similarity(train, features, config)
    statistics: dict[str, Any] = {"users": train.shape[0], "items": items, "train": train.nnz}
    items_graphs = {ITEM: of_items} | {name: by_modality(of_items, name) for name in MODALITIES}
    for similarities, k in ((items_graphs, config.k), ({USER: of_users}, config.user_k)):
        found, recalls = neighbours(similarities, k, config)
        for name, edges in found.items():
            write(edges, context.out / f"{name}.parquet")
            statistics[name] = describe(edges, similarities[name])
            if name in recalls:
                statistics[name]["recall_of_exact"] = round(recalls[name], 4)
    write_json(context.out / "statistics.json", statistics)


def neighbours(
    similarities: Mapping[str, Similarity], k: int, config: GraphsConfig
) -> tuple[dict[str, Edges], dict[str, float]]:
    """The edges of each graph; of approximate ones, also the share of the exact edges found."""
    edges: dict[str, Edges] = {}
    recalls: dict[str, float] = {}
    for name, similarity in similarities.items():
        # Where only pairs with an overlap count, there is nothing to approximate.
        if config.neighbours == "exact" or similarity.sparse:
            edges[name] = nearest(similarity, k, config.block_bytes, f"{name} graph")
        else:
            edges[name], recalls[name] = approximate.nearest(similarity, k, f"{name} graph")
    return edges, recalls


def training_matrix(split: Path, items: int) -> sp.csr_matrix:
    """The (U, I) binary matrix of the training interactions; U counts the users of all splits."""
    table = pq.read_table(split, columns=[USER, ITEM, SPLIT])
    users = table[USER].to_numpy()
    train = table[SPLIT].to_numpy() == TRAIN
    ends = (users[train], table[ITEM].to_numpy()[train])
    ones = np.ones(int(train.sum()))
    matrix = sp.csr_matrix((ones, ends), shape=(int(users.max(initial=-1)) + 1, items))
    matrix.sort_indices()
    return matrix


def known_order(table: Path, how: Replacement, seed: int) -> NDArray[np.int64] | None:
    """(I,) the item that each item of a kNN table stands for after `features.replace`.

    None: the table is not used, as there are no neighbours by noise or without features.
    """
    present = feature_table.presence(table)
    if how == "none":
        return np.arange(len(present))
    return np.argsort(sources(present, seed)) if how == "permuted" else None


def known_cosines(
    folders: Mapping[str, Path],
    items: int,
    nodes: NDArray[np.bool_],
    order: Mapping[str, NDArray[np.int64] | None],
) -> dict[str, KnownCosines]:
    """The cosines of the ready-made data set's kNN tables, by modality.

    Args:
        folders: the imported files of each modality.
        items: I.
        nodes: (I,) items whose edges are kept.
        order: by modality, see `known_order`.

    Raises:
        UserError: there is no table at all.
    """
    known, found = {}, 0
    for name, folder in folders.items():
        path, stands_for = folder / GIVEN_KNN, order[name]
        if path.is_file():
            found += 1
            if stands_for is None:
                continue
            table = pq.read_table(path)
            rows, columns = (stands_for[table[end].to_numpy()] for end in (ROW, COLUMN))
            kept = nodes[rows] & nodes[columns]
            edges = Edges(rows[kept], columns[kept], table[WEIGHT].to_numpy()[kept])
            known[name] = KnownCosines.of(edges, items)
    if not found:
        raise UserError(
            "graphs.modality: knn needs the kNN tables of a ready-made data set "
            "(ingest.format=ready-made); set graphs.modality=features"
        )
    return known


def item_similarity(train: sp.csr_matrix, features: Features, config: GraphsConfig) -> Similarity:
    """e_ij of items: users in common, and the cosines of their features."""
    modalities = {name: Modality.of(*table) for name, table in features.items()}
    return similarity_of_items(train, modalities, config)


def similarity_of_items(
    train: sp.csr_matrix, modalities: Mapping[str, Modality | KnownCosines], config: GraphsConfig
) -> Similarity:
    """e_ij of items from cosines of either kind."""
    return Similarity(
        sp.csr_matrix(train.T), modalities, _beta(config), config.alpha, config.co_occurrence
    )


def by_modality(items: Similarity, name: str) -> Similarity:
    """e_ij of items by a single modality: the cosine."""
    modalities = {m: table for m, table in items.modalities.items() if m == name}
    return replace(items, modalities=modalities, beta={name: 1.0}, alpha=0.0)


def user_similarity(train: sp.csr_matrix, features: Features, config: GraphsConfig) -> Similarity:
    """e_uv of users: items in common, and the cosines of their items' mean features."""
    modalities = {name: Modality.of(*user_means(train, *features[name])) for name in features}
    return Similarity(train, modalities, _beta(config), config.alpha, config.co_occurrence)


def _beta(config: GraphsConfig) -> dict[str, float]:
    return {TEXT: config.beta.text, VISUAL: config.beta.visual}


def user_means(
    train: sp.csr_matrix, vectors: NDArray[np.float32], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The (U, d) mean vectors of each user's training items that have one, and the (U,) mask."""
    with_vector = sp.csr_matrix(train[:, present], dtype=np.float32)
    counts = np.diff(with_vector.indptr)
    means = np.asarray(with_vector @ vectors[present], dtype=np.float32)
    means /= np.maximum(counts, 1)[:, None]
    return means, counts > 0


def write(edges: Edges, path: Path) -> None:
    """Write a graph as EDGES."""
    columns = {ROW: edges.rows, COLUMN: edges.columns, WEIGHT: edges.weights}
    pq.write_table(pa.table(columns, schema=EDGES), path)


def describe(edges: Edges, similarity: Similarity) -> dict[str, Any]:
    """Counts of a graph, and the share of its edges that each signal supports.

    Co-occurrence supports an edge whose ends have a neighbour in common; a modality, an edge whose
    ends both have it with a positive cosine. An edge may have several supports.
    """
    nodes = similarity.neighbours.shape[0]
    degrees = np.bincount(edges.rows, minlength=nodes)
    left, right = similarity.neighbours[edges.rows], similarity.neighbours[edges.columns]
    support = {CO_OCCURRENCE: _share(np.asarray(left.multiply(right).sum(axis=1)).ravel())}
    for name, modality in similarity.modalities.items():
        support[name] = _share(modality.pair_cosines(edges.rows, edges.columns))
    return {
        "nodes": nodes,
        "edges": len(edges.rows),
        "mean_degree": round(len(edges.rows) / max(nodes, 1), 6),
        "nodes_without_edges": int((degrees == 0).sum()),
        "present": {name: int(m.present.sum()) for name, m in similarity.modalities.items()},
        "support": support,
    }


def _share(values: NDArray[np.float64]) -> float:
    return round(float((values > 0).mean()), 6) if len(values) else 0.0
