"""Interactions of tables: texts to integers, with a reason for each row that is left out."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from brmrs.columns import SPLIT_NAMES, TRAIN, VALIDATION
from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.dataset import Given, Reading
from brmrs.ingest.interactions import LARGEST_RATING, NO_TIME, Interactions
from brmrs.ingest.table import names, splits
from brmrs.ingest.table.chunks import Chunk
from brmrs.ingest.table.names import Named
from brmrs.ingest.table.reading import Tables
from brmrs.ingest.table.times import milliseconds
from brmrs.ingest.table.values import stripped

LOG = logging.getLogger(__name__)
MAX_ID = 256  # characters, as in dumps
CONTENT_SHOWN = 80  # characters of a bad row in an error
PLAIN = r"^[\x20-\x7e]*$"  # printable for certain
DECIMAL_COMMA = r"^(-?\d+),(\d+)$"
LABELS = {
    **{f"{value}{zeros}": value for value in SPLIT_NAMES for zeros in ("", ".0")},
    **{name: value for value, name in SPLIT_NAMES.items()},
    **dict.fromkeys(("valid", "val", "dev"), VALIDATION),
    "training": TRAIN,
}
ZERO = np.float32(0.0)  # added to -0, it gives 0
OLD = 788_918_400_000  # ms; 1995-01-01
TIMES_BEFORE_1995 = "times_before_1995"  # the count of them
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
        raise UserError(_no_row(tables))
    (user, user_ids), (item, item_ids) = _codes(whole[USER]), _codes(whole[ITEM])
    found = Interactions(
        user,
        item,
        whole[RATING].fill_null(float("nan")).to_numpy().astype(np.float32) + ZERO,
        whole[TIME].fill_null(NO_TIME).to_numpy().astype(np.int64),
    )
    _report_old(found, tables.reading)
    if not has_split:
        return found, user_ids, item_ids, tables.reading, None
    kept, given = splits.given(found, whole[SPLIT].to_numpy().astype(np.int8), config)
    tables.reading.notes["duplicates_across_splits"] = len(found) - len(kept)
    return kept, user_ids, item_ids, tables.reading, given


def _report_old(found: Interactions, reading: Reading) -> None:
    """Count times before 1995 and warn of them: they may be days, or another unit."""
    dated = found.timestamp != NO_TIME
    old = int((dated & (found.timestamp < OLD)).sum())
    reading.notes[TIMES_BEFORE_1995] = old
    if old:
        LOG.warning(
            "ingest.interactions: %s of %s times are before 1995; a number is read as seconds, or "
            "as a smaller unit if it is too large for that",
            f"{old:,}",
            f"{int(dated.sum()):,}",
        )


def _no_row(tables: Tables) -> str:
    """The message that no row can be used, with the first reason."""
    listed = ", ".join(str(head.path) for head in tables.heads)
    if not tables.reading.quarantine:
        return f"ingest.interactions: {listed}: no rows below the header; correct the files"
    first = tables.reading.quarantine[0]
    return (
        f"ingest.interactions: {listed}: none of the {tables.reading.lines:,} rows can be used; "
        f"the first is line {first.line} of {first.file}: {first.reason} "
        f"({first.content[:CONTENT_SHOWN]!r}); correct the files"
    )


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
    number = _numbers(frame[RATING])
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
            _header_again(named),
            pl.when(pl.col(RATING).is_not_null() & number.is_null()).then(
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


def _numbers(texts: pl.Series) -> pl.Series:
    """Ratings that are finite as float32; else null."""
    found = texts.str.replace(DECIMAL_COMMA, "${1}.${2}").cast(pl.Float64, strict=False)
    fits = (found.abs() <= LARGEST_RATING).fill_null(value=False)  # NaN is the largest for polars
    return found.set(~fits, None)


def _header_again(named: Named) -> pl.Expr:
    """A header within the rows: files were joined."""
    is_header = (pl.col(USER) == named.one(USER)) & (pl.col(ITEM) == named.one(ITEM))
    return pl.when(is_header).then(pl.lit("the header again"))


def _absent(role: str) -> pl.Expr:
    return pl.lit(None, pl.String).alias(role)


def _no_time(form: str) -> str:
    if form:
        return f"time is not of the form {form}"
    return "time is no number or ISO date since 1970 (see ingest.columns.time_format)"


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
