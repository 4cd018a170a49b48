"""Reviews as integers: every id is mapped once, the texts are not kept."""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from brmrs.config import IngestConfig
from brmrs.ingest import typed
from brmrs.ingest.dump import (
    MAX_ID,
    Lines,
    Reading,
    RejectedError,
    blocks,
    check_share,
    identifier,
    reading_task,
)
from brmrs.ingest.interactions import NO_TIME, Interactions
from brmrs.ingest.lines import lines_of
from brmrs.ingest.ratings import ratings_kind
from brmrs.ingest.reviews import REVIEWS, Review

PIECE = 64  # lines; of a block with an odd line, only the piece that holds it is read line by line
# Bytes of all files, on disk, from which several processes pay: one starts in about a second.
SEVERAL_PROCESSES = 64 << 20


class Ids(dict[str, int]):
    """Codes of raw ids in the order of first appearance. A new id is checked, a known one is not.

    Raises:
        RejectedError: from `[]`, the id is none.
    """

    def __missing__(self, value: str) -> int:
        if value.isalnum() and len(value) <= MAX_ID:  # nearly all; `identifier` is slower
            code = self[value] = len(self)
        else:
            code = self[identifier(value, "id")] = len(self)
        return code


@dataclass
class Coded:
    """Reviews as columns of integers."""

    user_codes: Ids = field(default_factory=Ids)
    item_codes: Ids = field(default_factory=Ids)
    user: "array[int]" = field(default_factory=lambda: array("i"))
    item: "array[int]" = field(default_factory=lambda: array("i"))
    rating: "array[float]" = field(default_factory=lambda: array("f"))
    timestamp: "array[int]" = field(default_factory=lambda: array("q"))
    generations: Counter[str] = field(default_factory=Counter)
    below_min_rating: int = 0

    def add(self, review: Review, min_rating: float | None) -> None:
        """Add a review, unless it is rated below the minimum."""
        self.generations[review.generation] += 1
        if min_rating is not None and review.rating < min_rating:
            self.below_min_rating += 1
            return
        self.user.append(self.user_codes[review.user_id])
        self.item.append(self.item_codes[review.asin])
        self.rating.append(review.rating)
        self.timestamp.append(NO_TIME if review.timestamp is None else review.timestamp)

    def add_block(self, block: bytes, min_rating: float | None) -> int:
        """Add the reviews of whole lines at once; their number, or 0 where that cannot be done."""
        likely = next(reversed(self.generations), "")
        found = typed.decode(block, likely)
        if found is None:
            return 0
        generation, rows = found
        unit = typed.MILLISECONDS[generation]
        kept = rows if min_rating is None else [row for row in rows if row.rating >= min_rating]
        try:  # first all that may fail, so that nothing is left of a block that cannot be read
            users = [self.user_codes[row.user] for row in kept]
            items = [self.item_codes[row.item] for row in kept]
        except RejectedError:
            return 0
        self.user.extend(users)
        self.item.extend(items)
        self.rating.extend([row.rating for row in kept])
        self.timestamp.extend([row.time * unit for row in kept])
        self.generations[generation] += len(rows)
        self.below_min_rating += len(rows) - len(kept)
        return len(rows)

    def absorb(self, other: "Coded") -> None:
        """Add the reviews of another, after those here."""
        for codes, theirs, mine, column in (
            (self.user_codes, other.user_codes, self.user, other.user),
            (self.item_codes, other.item_codes, self.item, other.item),
        ):
            here = np.array([codes[name] for name in theirs], dtype=np.int32)
            mine.frombytes(here[np.frombuffer(column, dtype=np.int32)].tobytes())
        self.rating.extend(other.rating)
        self.timestamp.extend(other.timestamp)
        self.generations.update(other.generations)
        self.below_min_rating += other.below_min_rating

    def interactions(self) -> Interactions:
        """All reviews, in the order of the dump; a view, so nothing may be added while it lives."""
        return Interactions(
            np.frombuffer(self.user, dtype=np.int32),
            np.frombuffer(self.item, dtype=np.int32),
            np.frombuffer(self.rating, dtype=np.float32),
            np.frombuffer(self.timestamp, dtype=np.int64),
        )


def code_reviews(paths: Sequence[Path], config: IngestConfig) -> tuple[Coded, Reading]:
    """Read review files, several at once if they are large.

    Raises:
        UserError: a file cannot be read or is no dump, or too many lines are bad.
    """
    coded, reading = Coded(), Reading()
    workers = min(len(paths), os.cpu_count() or 1)
    several = workers > 1 and sum(path.stat().st_size for path in paths) > SEVERAL_PROCESSES
    with reading_task(paths, REVIEWS.field) as advance:
        if several:
            _code_in_processes(paths, config, workers, coded, reading, advance)
        else:
            for path in paths:
                _code_file(path, config, coded, reading, advance)
    check_share(REVIEWS.field, config.max_bad_share, reading)
    return coded, reading


def _code_in_processes(
    paths: Sequence[Path],
    config: IngestConfig,
    workers: int,
    coded: Coded,
    reading: Reading,
    advance: Callable[[int], None],
) -> None:
    # Not forked: this process may hold threads of other stages.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            parts: Iterable[tuple[Coded, Reading]] = pool.map(partial(_code_alone, config), paths)
            for path, (part, read) in zip(paths, parts, strict=True):
                coded.absorb(part)
                reading.absorb(read)
                advance(path.stat().st_size)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _code_alone(config: IngestConfig, path: Path) -> tuple[Coded, Reading]:
    coded, reading = Coded(), Reading()
    _code_file(path, config, coded, reading, lambda _: None)
    return coded, reading


def _code_file(
    path: Path,
    config: IngestConfig,
    coded: Coded,
    reading: Reading,
    advance: Callable[[int], None],
) -> None:
    ratings = ratings_kind(path)
    lines = Lines(path, ratings or REVIEWS, config.max_bad_share, reading)
    for first, block in blocks(path, lines, config.allow_truncated, advance):
        good = 0 if ratings else coded.add_block(block, config.min_rating)
        lines.count(good)
        if good:
            continue
        split = lines_of(block)
        for start in range(0, len(split), PIECE):
            piece = split[start : start + PIECE]
            good = 0 if ratings else coded.add_block(b"\n".join([*piece, b""]), config.min_rating)
            lines.count(good)
            if not good:
                for review in lines.records(first + start, piece):
                    coded.add(review, config.min_rating)
    lines.end()
