import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from brmrs import columns
from brmrs.columns import TEST, TRAIN, VALIDATION
from brmrs.config.data import SplitConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.split.stage import (
    DROPPED,
    leave_last_out,
    random_split,
    run,
    split,
    statistics,
    time_cut,
)
from brmrs.stages import StageContext

Row = tuple[int, int, int]  # user, item, time
rows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 40), st.integers(0, 9)),
    unique_by=lambda row: row[:2],
    min_size=1,
    max_size=120,
)
shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 3)


def arrays(data: list[Row]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    user, item, time = np.array(data, dtype=np.int64).reshape(-1, 3).T
    return user.astype(np.int32), item.astype(np.int32), time


def table(data: list[Row], unknown: int = 0) -> pa.Table:
    user, item, time = arrays(data)
    mask = np.arange(len(time)) < unknown
    values = [user, item, np.ones(len(user), np.float32), pa.array(time, mask=mask)]
    return pa.table(values, schema=columns.INTERACTIONS)


def labelled(data: list[Row], labels: NDArray[np.int8]) -> dict[tuple[int, int], int]:
    return {row[:2]: int(label) for row, label in zip(data, labels, strict=True)}


@pytest.mark.parametrize(
    ("n", "train", "validation", "test"),
    [
        (1, 1, 0, 0),
        (2, 1, 0, 1),
        (3, 1, 1, 1),
        (5, 3, 1, 1),
        (9, 7, 1, 1),
        (10, 8, 1, 1),
        (14, 12, 1, 1),
        (15, 12, 1, 2),
        (20, 16, 2, 2),
        (25, 20, 2, 3),
        (89, 72, 8, 9),
        (125, 100, 12, 13),
    ],
)
def test_the_sizes_of_the_random_split(n: int, train: int, validation: int, test: int) -> None:
    labels = random_split(np.zeros(n, np.int32), np.arange(n, dtype=np.int32), 0.2, seed=0)
    assert np.bincount(labels, minlength=3).tolist() == [train, validation, test]


def test_every_user_of_baby_has_the_published_number_in_each_split(shared_data: Path) -> None:
    path = shared_data / "benchmarks" / "baby" / "baby.inter"
    user, item, published = np.loadtxt(path, skiprows=1, dtype=np.int32).T
    labels = random_split(user, item, 0.2, seed=0)
    assert np.bincount(labels).tolist() == [118_551, 20_559, 21_682]
    for value in (TRAIN, VALIDATION, TEST):
        ours, theirs = np.bincount(user[labels == value]), np.bincount(user[published == value])
        assert np.array_equal(ours, theirs)


@given(rows, shares, seeds)
def test_the_random_split_leaves_everyone_training_items(
    data: list[Row], held_out: float, seed: int
) -> None:
    user, item, _ = arrays(data)
    labels = random_split(user, item, held_out, seed)
    assert set(labels) <= {TRAIN, VALIDATION, TEST}
    assert set(user) == set(user[labels == TRAIN])
    for one in set(user):
        n, mine = int((user == one).sum()), labels[user == one]
        validation, test = (mine == VALIDATION).sum(), (mine == TEST).sum()
        assert test - validation in (0, 1)
        assert validation + test == min(max(int(held_out * n + 1e-9), 2), n - 1)


@given(rows, shares, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    data: list[Row],
    held_out: float,
    seed: int,
    random: Any,
) -> None:
    shuffled = data.copy()
    random.shuffle(shuffled)
    results = []
    for order in (data, shuffled):
        user, item, time = arrays(order)
        results.append(
            (
                labelled(order, random_split(user, item, held_out, seed)),
                labelled(order, leave_last_out(user, item, time)),
            )
        )
    assert results[0] == results[1]


def test_the_seed_decides() -> None:
    user, item = np.zeros(50, np.int32), np.arange(50, dtype=np.int32)
    first = random_split(user, item, 0.2, seed=1)
    assert np.array_equal(first, random_split(user, item, 0.2, seed=1))
    assert not np.array_equal(first, random_split(user, item, 0.2, seed=2))


def test_every_position_is_held_out_equally_often() -> None:
    user = np.repeat(np.arange(4000, dtype=np.int32), 5)
    item = np.tile(np.arange(5, dtype=np.int32), 4000)
    labels = random_split(user, item, 0.2, seed=0)
    for value in (VALIDATION, TEST):
        counts = np.bincount(item[labels == value], minlength=5)
        assert np.all(np.abs(counts - 800) < 120)  # 4.7 standard deviations


def test_the_last_interactions_are_left_out_and_items_break_ties() -> None:
    data = [(0, 3, 10), (0, 1, 30), (0, 2, 20), (1, 7, 5), (1, 9, 5), (1, 8, 5), (2, 1, 1)]
    data += [(3, 5, 9), (3, 4, 8)]
    labels = labelled(data, leave_last_out(*arrays(data)))
    assert labels == {
        (0, 3): TRAIN, (0, 2): VALIDATION, (0, 1): TEST,
        (1, 7): TRAIN, (1, 8): VALIDATION, (1, 9): TEST,
        (2, 1): TRAIN,
        (3, 4): TRAIN, (3, 5): TEST,
    }  # fmt: skip


def test_the_time_cut_by_hand() -> None:
    # 10 interactions, 40 % held out: cuts at the times of the 7th and of the 9th.
    data = [(0, item, item) for item in range(6)]
    data += [(0, 6, 6), (1, 7, 7), (0, 8, 8), (0, 9, 9)]
    user, _, time = arrays(data)
    labels = time_cut(user, time, 0.4)
    assert labels.tolist() == [TRAIN] * 6 + [VALIDATION, DROPPED, TEST, TEST]
    sizes = statistics(table(data), labels)
    assert sizes["dropped"] == 1
    assert sizes["test"] == {"interactions": 2, "users": 1, "items": 2, "items_never_trained": 2}


def test_interactions_at_the_time_of_the_cut_are_held_out_together() -> None:
    user = np.zeros(10, np.int32)
    time = np.array([0, 1, 2, 5, 5, 5, 5, 5, 8, 9])
    labels = time_cut(user, time, 0.4)
    assert labels.tolist() == [TRAIN] * 3 + [VALIDATION] * 5 + [TEST] * 2


@given(rows, shares)
def test_the_time_cut_separates_times_and_leaves_everyone_training_items(
    data: list[Row], held_out: float
) -> None:
    user, _, time = arrays(data)
    try:
        labels = time_cut(user, time, held_out)
    except UserError:
        return
    train, validation, test = (time[labels == value] for value in (TRAIN, VALIDATION, TEST))
    assert train.max() < validation.min()
    assert validation.max() < test.min()
    assert set(user[labels > TRAIN]) <= set(user[labels == TRAIN])
    assert not set(user[labels == DROPPED]) & set(user[labels == TRAIN])


@pytest.mark.parametrize("held_out", [0.01, 0.5, 0.99])
def test_a_time_cut_without_a_split_is_refused(held_out: float) -> None:
    with pytest.raises(UserError, match=r"leaves no \w+ interactions; change split\.held_out"):
        time_cut(np.zeros(9, np.int32), np.full(9, 7), held_out)


@pytest.mark.parametrize("protocol", ["leave-last-out", "time"])
def test_protocols_in_time_need_times(protocol: str) -> None:
    config = SplitConfig.model_validate({"protocol": protocol})
    with pytest.raises(UserError, match=r"1 of 3 have none; set split\.protocol=random"):
        split(table([(0, 0, 1), (0, 1, 2), (0, 2, 3)], unknown=1), config)


@pytest.mark.parametrize("held_out", [0, 1, -0.1, float("nan")])
def test_a_share_that_empties_a_split_is_no_configuration(held_out: float) -> None:
    with pytest.raises(ValueError, match="held_out"):
        SplitConfig(held_out=held_out)


@pytest.mark.parametrize("protocol", ["random", "leave-last-out", "time"])
def test_the_stage_writes_sorted_rows_and_the_same_bytes_twice(
    protocol: str, tmp_path: Path
) -> None:
    data = [(user, item, 100 * item + user) for user in range(5) for item in range(6)]
    source = tmp_path / "interactions.parquet"
    pq.write_table(table(data[::-1]), source)
    config = PipelineConfig(split=SplitConfig.model_validate({"protocol": protocol}))
    written = []
    for name in ("one", "two"):
        out = tmp_path / name
        out.mkdir()
        run(StageContext(config, {"ingest/interactions.parquet": source}, out, tmp_path))
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
    result = pq.read_table(tmp_path / "one" / "interactions.parquet")
    assert result.schema.equals(columns.SPLIT_INTERACTIONS)
    pairs = list(zip(result["user"].to_pylist(), result["item"].to_pylist(), strict=True))
    assert pairs == [row[:2] for row in data]
    sizes = json.loads((tmp_path / "one" / "statistics.json").read_text())
    assert sum(sizes[name]["interactions"] for name in ("train", "validation", "test")) == 30
