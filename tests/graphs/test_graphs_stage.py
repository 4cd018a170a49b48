"""The graph stage: what it writes, and that nothing but the training split reaches it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from brmrs import columns
from brmrs.columns import TEXT, VISUAL
from brmrs.config.learning import GraphsConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.features import feature_table
from brmrs.graphs import homogeneous
from brmrs.graphs import stage as build
from brmrs.stages import FEATURE_TABLES, SPLIT, StageContext

USERS, ITEMS = 12, 10


def write_split(path: Path, users: NDArray[np.int64], items: NDArray[np.int64], x: object) -> None:
    nothing = pa.nulls(len(users))
    values = [pa.array(users), pa.array(items), nothing, nothing, pa.array(x)]
    table = pa.table(values, names=columns.SPLIT_INTERACTIONS.names)
    pq.write_table(table.cast(columns.SPLIT_INTERACTIONS), path)


def write_features(folder: Path, present: NDArray[np.bool_], width: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(present), width)).astype(np.float32)
    vectors[~present] = 0
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
    table = pa.table(
        [pa.array(range(len(present)), pa.int32()), column, pa.array(present)],
        schema=columns.features(width),
    )
    folder.mkdir()
    pq.write_table(table, folder / "features.parquet")


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    generator = np.random.default_rng(0)
    pairs = np.argwhere(generator.random((USERS, ITEMS)) < 0.5)
    split = generator.choice([0, 0, 0, 1, 2], len(pairs))
    split[pairs[:, 0] == 3] = columns.VALIDATION  # a user without training interactions
    split[0] = columns.TRAIN
    write_split(tmp_path / "split.parquet", pairs[:, 0], pairs[:, 1], split)
    present = np.ones(ITEMS, dtype=bool)
    present[[2, 5]] = False
    write_features(tmp_path / "text", present, 4, seed=1)
    write_features(tmp_path / "visual", np.roll(present, 1), 6, seed=2)
    (tmp_path / "out").mkdir()
    return StageContext(
        config=PipelineConfig(graphs=GraphsConfig(k=3, user_k=4, block_bytes=2500)),
        inputs={
            SPLIT: tmp_path / "split.parquet",
            FEATURE_TABLES[TEXT]: tmp_path / "text" / feature_table.FILE,
            FEATURE_TABLES[VISUAL]: tmp_path / "visual" / feature_table.FILE,
        },
        out=tmp_path / "out",
        scratch=tmp_path,
    )


def written(context: StageContext) -> dict[str, bytes]:
    build.run(context)
    return {path.name: path.read_bytes() for path in sorted(context.out.iterdir())}


def test_writes_two_graphs_and_statistics(context: StageContext) -> None:
    names = ["item.parquet", "statistics.json", "text.parquet", "user.parquet", "visual.parquet"]
    assert list(written(context)) == names
    statistics = json.loads((context.out / "statistics.json").read_text())
    assert (statistics["users"], statistics["items"]) == (USERS, ITEMS)
    for name, nodes, k in (("item", ITEMS, 3), ("user", USERS, 4)):
        table = pq.read_table(context.out / f"{name}.parquet")
        assert table.schema.equals(columns.EDGES)
        rows, ends = table[columns.ROW].to_numpy(), table[columns.COLUMN].to_numpy()
        assert np.array_equal(np.lexsort((ends, rows)), np.arange(len(rows)))
        assert not (rows == ends).any()
        assert np.bincount(rows).max() <= k
        assert (table[columns.WEIGHT].to_numpy() > 0).all()
        assert statistics[name]["edges"] == len(rows)
        assert statistics[name]["mean_degree"] == pytest.approx(len(rows) / nodes, abs=1e-6)
        assert statistics[name]["nodes_without_edges"] == nodes - len(np.unique(rows))
        sums = homogeneous.load(context.out / f"{name}.parquet", nodes).csr.to_dense().sum(dim=1)
        assert sums[np.unique(rows)].tolist() == pytest.approx([1.0] * len(np.unique(rows)))
    assert statistics["item"]["present"] == {"text": 8, "visual": 8}


def test_neighbours_by_one_modality_are_its_nearest_cosines(context: StageContext) -> None:
    written(context)
    for name in ("text", "visual"):
        vectors, present = feature_table.read(context.inputs[FEATURE_TABLES[name]])
        units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        cosines = units @ units.T
        cosines[~present] = cosines[:, ~present] = 0
        np.fill_diagonal(cosines, 0)
        third = np.sort(cosines, axis=1)[:, -3, None]
        expected = np.where((cosines >= third) & (cosines > 0), cosines, 0)
        graph = homogeneous.read(context.out / f"{name}.parquet", ITEMS).toarray()
        np.testing.assert_allclose(graph, expected, atol=1e-6)


def test_user_without_training_items_has_no_edges(context: StageContext) -> None:
    written(context)
    table = pq.read_table(context.out / "user.parquet")
    assert 3 not in table[columns.ROW].to_pylist()
    assert 3 not in table[columns.COLUMN].to_pylist()


def test_same_bytes_again_and_in_other_blocks(context: StageContext) -> None:
    first = written(context)
    assert written(context) == first
    other = PipelineConfig(graphs=context.config.graphs.model_copy(update={"block_bytes": 2**30}))
    assert written(StageContext(other, context.inputs, context.out, context.scratch)) == first


def test_held_out_interactions_change_no_byte(context: StageContext) -> None:
    first = written(context)
    table = pq.read_table(context.inputs[SPLIT])
    users, items = table[columns.USER].to_numpy(), table[columns.ITEM].to_numpy().copy()
    split = table[columns.SPLIT].to_numpy()
    held_out = np.flatnonzero(split != columns.TRAIN)
    generator = np.random.default_rng(5)
    items[held_out] = generator.integers(0, ITEMS, len(held_out))
    order = np.arange(len(users))
    order[held_out] = generator.permutation(held_out)
    write_split(context.inputs[SPLIT], users[order], items[order], split[order])
    assert written(context) == first


def test_a_training_interaction_changes_the_graph(context: StageContext) -> None:
    first = written(context)
    table = pq.read_table(context.inputs[SPLIT])
    split = table[columns.SPLIT].to_numpy().copy()
    split[np.flatnonzero(split != columns.TRAIN)[:3]] = columns.TRAIN
    write_split(
        context.inputs[SPLIT],
        table[columns.USER].to_numpy(),
        table[columns.ITEM].to_numpy(),
        split,
    )
    assert written(context) != first


def test_user_means_by_hand() -> None:
    train = sp.csr_matrix(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 1.0]]))
    vectors = np.array([[2, 0], [0, 4], [0, 0]], dtype=np.float32)
    means, present = build.user_means(train, vectors, np.array([True, True, False]))
    assert means.tolist() == [[1, 2], [0, 0], [2, 0]]
    assert present.tolist() == [True, False, True]


def test_new_items_are_in_no_graph(context: StageContext) -> None:
    """With the protocol cold-items, an item without training interactions has no edge."""
    table = pq.read_table(context.inputs[SPLIT])
    new = np.isin(table[columns.ITEM].to_numpy(), [0, 7])
    pq.write_table(table.filter(pa.array(~new)), context.inputs[SPLIT])
    ends = {}
    for protocol in ("random", "cold-items"):
        out = context.out / protocol
        out.mkdir()
        split = context.config.split.model_copy(update={"protocol": protocol})
        config = context.config.model_copy(update={"split": split})
        build.run(dataclasses.replace(context, config=config, out=out))
        edges = [pq.read_table(out / f"{name}.parquet") for name in ("item", TEXT, VISUAL)]
        both = [edge[end].to_numpy() for edge in edges for end in (columns.ROW, columns.COLUMN)]
        ends[protocol] = {0, 7} & set(np.concatenate(both).tolist())
    assert ends == {"random": {0, 7}, "cold-items": set()}
