"""Interactions of tables: texts to integers, with a reason for each row that is left out."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from brmrs.columns import SPLIT_NAMES, TRAIN, VALIDATION
from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.dataset import Given, Reading
from brmrs.ingest.interactions import NO_TIME, Interactions
from brmrs.ingest.table import names, splits
from brmrs.ingest.table.chunks import Chunk
from brmrs.ingest.table.names import Named
from brmrs.ingest.table.reading import Tables
from brmrs.ingest.table.times import milliseconds
from brmrs.ingest.table.values import stripped

MAX_ID = 256  # characters, as in dumps
PLAIN = r"^[\x20-\x7e]*$"  # printable for certain
DECIMAL_COMMA = r"^(-?\d+),(\d+)$"
LABELS = {
    **{f"{value}{zeros}": value for value in SPLIT_NAMES for zeros in ("", ".0")},
    **{name: value for value, name in SPLIT_NAMES.items()},
    **dict.fromkeys(("valid", "val", "dev"), VALIDATION),
    "training": TRAIN,
}
USER, ITEM, RATING, TIME, SPLIT, REASON = "user", "item", "rating", "time", "split", "reason"


def read(config: IngestConfig) -> tuple[Interactions, pa.Array, pa.Array, Reading, Given | None]:
    """All interactions: codes, the distinct ids of users and items, counts, and a split if given.

    With a split, interactions are sorted by user and item and no pair repeats.

    Raises:
        UserError: a file cannot be read, or too many rows are bad.
    """
    tables = Tables("ingest.interactions", config.interactions, config)
    names.refuse_missing(tables.heads, config.columns, names.OF_INTERACTIONS)
    of_files = splits.of_files([head.path for head in tables.heads])
    frames: list[pl.DataFrame] = []
    has_split = bool(of_files)
    for head in tables.heads:
        named = names.interactions(head, config.columns)
        tables.note(head, named)
        has_split |= named.one(SPLIT) is not None
        label = of_files.get(head.path)
        frames += [
            _checked(head.path, chunk, named, label, config, tables)
            for chunk in tables.chunks(head, named.all())
        ]
    tables.end()
    whole = pl.concat(frames).rechunk()
    if not len(whole):
        listed = ", ".join(str(head.path) for head in tables.heads)
        raise UserError(f"ingest.interactions: {listed}: no row can be used; correct the files")
    (user, user_ids), (item, item_ids) = _codes(whole[USER]), _codes(whole[ITEM])
    found = Interactions(
        user,
        item,
        whole[RATING].fill_null(float("nan")).to_numpy().astype(np.float32),
        whole[TIME].fill_null(NO_TIME).to_numpy().astype(np.int64),
    )
    if not has_split:
        return found, user_ids, item_ids, tables.reading, None
    kept, given = splits.given(found, whole[SPLIT].to_numpy().astype(np.int8), config)
    tables.reading.notes["duplicates_across_splits"] = len(found) - len(kept)
    return kept, user_ids, item_ids, tables.reading, given


def _codes(ids: pl.Series) -> tuple[NDArray[np.int32], pa.Array]:
    """(N,) codes and the distinct ids, sorted."""
    encoded = pa.array(ids.to_arrow(), pa.large_string()).dictionary_encode()
    order = pa.compute.sort_indices(encoded.dictionary).to_numpy()
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return place[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order))


def _checked(
    path: Path, chunk: Chunk, named: Named, label: int | None, config: IngestConfig, tables: Tables
) -> pl.DataFrame:
    """The good rows of a chunk; the others go to the quarantine."""
    frame = chunk.frame.select(
        stripped(column).alias(role) if (column := named.one(role)) else _absent(role)
        for role in (USER, ITEM, RATING, TIME, SPLIT)
    )
    number = frame[RATING].str.replace(DECIMAL_COMMA, "${1}.${2}").cast(pl.Float64, strict=False)
    time = milliseconds(frame[TIME], config.columns.time_format)
    if named.one(SPLIT):
        spelled = frame[SPLIT].str.to_lowercase()
        split = spelled.replace_strict(LABELS, default=None, return_dtype=pl.Int8)
    else:
        split = pl.Series([label] * len(frame), dtype=pl.Int8)
    reason = frame.select(
        pl.coalesce(
            _fault_of_id(USER),
            _fault_of_id(ITEM),
            pl.when(pl.col(RATING).is_not_null() & ~number.is_finite().fill_null(value=False)).then(
                pl.lit("rating is not a number")
            ),
            pl.when(pl.col(TIME).is_not_null() & time.is_null()).then(
                pl.lit(_no_time(config.columns.time_format))
            ),
            pl.when(split.is_null() & pl.lit(named.one(SPLIT) is not None)).then(
                pl.lit("split is none of train, validation, test")
            ),
        ).alias(REASON)
    )[REASON]
    reason = _unprintable(frame, reason)
    bad = reason.is_not_null()
    if bad.any():
        content = chunk.frame.filter(bad)
        texts = content.select(pl.concat_str(pl.all(), separator=",", ignore_nulls=True))
        lines = chunk.lines[bad.to_numpy()].tolist()
        for line, why, text in zip(lines, reason.filter(bad), texts.to_series(), strict=True):
            tables.reject(path, line, why, text or "")
    good = frame.select(
        pl.col(USER), pl.col(ITEM), number.alias(RATING), time.alias(TIME), split.alias(SPLIT)
    )
    kept = good.filter(~bad)
    tables.count(len(kept))
    return kept


def _absent(role: str) -> pl.Expr:
    return pl.lit(None, pl.String).alias(role)


def _no_time(form: str) -> str:
    return f"time is not of the form {form}" if form else "time is no number or ISO date since 1970"


def _fault_of_id(role: str) -> pl.Expr:
    """Why an id cannot be used, or null."""
    length = pl.col(role).str.len_chars()
    return (
        pl.when(pl.col(role).is_null())
        .then(pl.lit(f"no {role} id"))
        .when(length > MAX_ID)
        .then(pl.lit(f"{role} id longer than {MAX_ID} characters"))
    )


def _unprintable(frame: pl.DataFrame, reason: pl.Series) -> pl.Series:
    """The reasons, with those of ids that have control characters."""
    for role in (USER, ITEM):
        odd = ~frame[role].str.contains(PLAIN).fill_null(value=True)
        if not odd.any():
            continue
        wrong = [not text.isprintable() for text in frame[role].filter(odd)]
        rows = odd.arg_true().filter(pl.Series(wrong, dtype=pl.Boolean))
        rows = rows.filter(reason.gather(rows).is_null())
        reason = reason.scatter(rows, f"{role} id is not printable") if len(rows) else reason
    return reason
