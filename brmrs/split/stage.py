"""The stage `split`: divides the interactions into training, validation and test.

All protocols sort the interactions first, so the result does not depend on the order of the rows.
Every user of validation or test has training items, unless the split is given with the data.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brmrs import columns, stages
from brmrs.config.data import SplitConfig
from brmrs.errors import UserError
from brmrs.stages import StageContext
from brmrs.system.files import write_json

Ints = NDArray[np.int32]
Labels = NDArray[np.int8]  # TRAIN, VALIDATION, TEST or DROPPED

DROPPED = -1  # held out from a user that has no training items; in no split


def run(context: StageContext) -> None:
    """The stage: interactions to interactions with a split column, and the splits' sizes."""
    interactions = pq.read_table(context.inputs[stages.INTERACTIONS], schema=columns.INTERACTIONS)
    if context.config.split.protocol == "given":
        labels = given_labels(context.inputs[stages.GIVEN_SPLIT])
    else:
        labels = split(interactions, context.config.split)
    table = interactions.append_column(columns.SPLIT_INTERACTIONS.field(columns.SPLIT), [labels])
    kept = table.filter(pc.not_equal(table[columns.SPLIT], DROPPED))
    kept = kept.sort_by([(columns.USER, "ascending"), (columns.ITEM, "ascending")])
    kept = kept.cast(columns.SPLIT_INTERACTIONS)
    pq.write_table(kept, context.out / "interactions.parquet")
    write_json(context.out / "statistics.json", statistics(interactions, labels))


def split(interactions: pa.Table, config: SplitConfig) -> Labels:
    """Label the rows of a table of `columns.INTERACTIONS` by the configured protocol.

    Raises:
        UserError: the protocol needs times that the dump lacks, or cannot fill every split.
    """
    user = interactions[columns.USER].to_numpy()
    item = interactions[columns.ITEM].to_numpy()
    if config.protocol == "random":
        return random_split(user, item, config.held_out, config.seed)
    if config.protocol == "cold-items":
        return cold_items(user, item, config.held_out, config.seed)
    unknown = interactions[columns.TIMESTAMP].null_count
    if unknown:
        raise UserError(
            f"split.protocol: {config.protocol} needs the time of every interaction, and "
            f"{unknown:,} of {len(interactions):,} have none; set split.protocol=random"
        )
    timestamp = interactions[columns.TIMESTAMP].to_numpy()
    if config.protocol == "leave-last-out":
        return leave_last_out(user, item, timestamp)
    return time_cut(user, timestamp, config.held_out)


def given_labels(folder: Path) -> Labels:
    """The (N,) labels of a ready-made data set, one for each interaction.

    Raises:
        UserError: there are none.
    """
    path = folder / stages.GIVEN_LABELS
    if not path.is_file():
        raise UserError(
            "split.protocol: given needs data that include a split (a ready-made data set, tables "
            "with a split); set split.protocol=random"
        )
    labels: Labels = pq.read_table(path, columns=[columns.SPLIT])[columns.SPLIT].to_numpy()
    return labels


def random_split(user: Ints, item: Ints, held_out: float, seed: int) -> Labels:
    """The literature's random split per user (docs of MMRec; published tables on Amazon follow it).

    Of a user's n interactions, floor(held_out * n), and at least two, are held out at random; the
    smaller half of them validates, the other tests. With `held_out` = 0.2 that is the literature's
    rule: with n < 10 one each, else a fifth of n. A user with two interactions trains on one and
    tests on the other, a user with one only trains.

    Args:
        user: (N,) dense ids.
        item: (N,) dense ids.
        held_out: share of a user's interactions.
        seed: of the shuffle.

    Returns:
        (N,) labels.
    """
    draw = np.empty(len(user))
    draw[np.lexsort((item, user))] = np.random.default_rng(seed).random(len(user))
    n = np.bincount(user)
    # The small term keeps floor from missing whole numbers (0.29 * 100 = 28.999...).
    share = np.floor(held_out * n + 1e-9).astype(np.int64)
    return _hold_out_last(user, np.lexsort((draw, user)), np.maximum(share, 2))


def leave_last_out(user: Ints, item: Ints, timestamp: NDArray[np.int64]) -> Labels:
    """A user's last interaction tests, the one before validates; the item breaks ties.

    A user with two interactions trains on the first and tests on the second, a user with one
    only trains.

    Args:
        user: (N,) dense ids.
        item: (N,) dense ids.
        timestamp: (N,) ms.

    Returns:
        (N,) labels.
    """
    two = np.full(int(user.max(initial=-1)) + 1, 2)
    return _hold_out_last(user, np.lexsort((item, timestamp, user)), two)


def time_cut(user: Ints, timestamp: NDArray[np.int64], held_out: float) -> Labels:
    """One cut in time for all users: what comes before trains, what comes after is held out.

    The cut is the time of the first of the last floor(held_out * N) interactions. A second cut
    divides those in half, into validation and test. Interactions at the exact time of a cut count
    as after it. Held-out interactions of users without training items are dropped; items without
    training interactions stay, as every item is ranked.

    Args:
        user: (N,) dense ids.
        timestamp: (N,) ms.
        held_out: share of all interactions.

    Returns:
        (N,) labels, with `DROPPED`.

    Raises:
        UserError: training, validation or test would be empty.
    """
    held = int(np.floor(held_out * len(user) + 1e-9))
    times = np.sort(timestamp)
    labels = np.zeros(len(user), dtype=np.int8)
    if held >= 2:
        labels[timestamp >= times[-held]] = columns.VALIDATION
        labels[timestamp >= times[held // 2 - held]] = columns.TEST
    _drop_untrained(user, labels)
    _check_none_empty(labels, f"a time cut at split.held_out = {held_out:g}")
    return labels


def cold_items(user: Ints, item: Ints, held_out: float, seed: int) -> Labels:
    """Items held out entirely: all their interactions validate or test, none trains.

    Of the I items with interactions, floor(held_out * I) are drawn at random, and at least two. The
    smaller half of them validates, the other tests. Interactions of users who have no training item
    left are dropped.

    Args:
        user: (N,) dense ids.
        item: (N,) dense ids.
        held_out: share of the items.
        seed: of the draw.

    Returns:
        (N,) labels, with `DROPPED`.

    Raises:
        UserError: training, validation or test would be empty.
    """
    items = np.random.default_rng(seed).permutation(np.unique(item))
    held = max(2, int(np.floor(held_out * len(items) + 1e-9)))
    of_item = np.zeros(int(item.max(initial=-1)) + 1, dtype=np.int8)
    of_item[items[:held]] = columns.TEST
    of_item[items[: held // 2]] = columns.VALIDATION
    labels: Labels = of_item[item]
    _drop_untrained(user, labels)
    _check_none_empty(labels, f"cold-items at split.held_out = {held_out:g}")
    return labels


def _drop_untrained(user: Ints, labels: Labels) -> None:
    """Drop the held-out interactions of users without training items."""
    trained = np.zeros(int(user.max(initial=-1)) + 1, dtype=bool)
    trained[user[labels == columns.TRAIN]] = True
    labels[~trained[user]] = DROPPED


def _check_none_empty(labels: Labels, how: str) -> None:
    for value, name in columns.SPLIT_NAMES.items():
        if value not in labels:
            raise UserError(
                f"split.protocol: {how} leaves no {name} interactions; change split.held_out, or "
                "set split.protocol=random"
            )


def statistics(interactions: pa.Table, labels: Labels) -> dict[str, Any]:
    """Sizes of the splits, as plain JSON values."""
    user = interactions[columns.USER].to_numpy()
    item = interactions[columns.ITEM].to_numpy()
    train_items = np.unique(item[labels == columns.TRAIN])
    sizes: dict[str, Any] = {"dropped": int((labels == DROPPED).sum())}
    for value, name in columns.SPLIT_NAMES.items():
        mine = labels == value
        items = np.unique(item[mine])
        sizes[name] = {
            "interactions": int(mine.sum()),
            "users": len(np.unique(user[mine])),
            "items": len(items),
            "items_never_trained": len(np.setdiff1d(items, train_items)),
        }
    return sizes


def _hold_out_last(user: Ints, order: NDArray[np.intp], held: NDArray[np.int64]) -> Labels:
    """Label each user's last `held` (U,) interactions in `order`, never the first one.

    `order` sorts by user. Validation takes floor(held / 2), test the rest, after it.
    """
    n = np.bincount(user)
    held = np.minimum(held, np.maximum(n - 1, 0))
    mine = user[order]
    position = np.arange(len(user)) - (np.cumsum(n) - n)[mine]
    train = n - held
    labels = np.empty(len(user), dtype=np.int8)
    labels[order] = (position >= train[mine]).astype(np.int8) + (
        position >= (train + held // 2)[mine]
    )
    return labels
