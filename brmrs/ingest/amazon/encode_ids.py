"""Reviews as integers: every id is mapped once, the texts are not kept."""

import os
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from brmrs.config.pipeline import IngestConfig
from brmrs.ingest.amazon import fast_decode as typed
from brmrs.ingest.amazon.fast_decode import Reviews
from brmrs.ingest.amazon.lines import lines_of
from brmrs.ingest.amazon.ratings import ratings_kind
from brmrs.ingest.amazon.records import Lines, Reading, blocks, check_share, reading_task
from brmrs.ingest.amazon.reviews import REVIEWS, Review
from brmrs.ingest.interactions import NO_TIME, Interactions

PIECE = 64  # lines; of a block with an odd line, only the piece that holds it is read line by line
# Blocks decoded ahead. One thread decodes while another inflates: decoding holds the interpreter's
# lock, inflating does not.
AHEAD = 3
MAPPED_AT_ONCE = 1_000_000  # reviews whose ids wait, at least
# Bytes of all files, on disk, from which several processes pay: one starts in about a second.
SEVERAL_PROCESSES = 64 << 20


class Codes:
    """A column of raw ids as codes of the distinct ones."""

    def __init__(self) -> None:
        self.codes = array("i")
        self.ids = pa.array([], pa.large_string())  # distinct; the code is the position
        self._waiting: list[pa.LargeStringArray] = []
        self._waiting_count = 0

    def extend(self, ids: pa.LargeStringArray) -> None:
        """Add raw ids. They are mapped many at once: Arrow hashes all distinct ones each time."""
        self._waiting.append(ids)
        self._waiting_count += len(ids)
        if self._waiting_count >= max(MAPPED_AT_ONCE, len(self.ids)):
            self.map()

    def map(self) -> None:
        """Map the ids that wait."""
        self.codes.frombytes(self._encode(self._waiting).tobytes())
        self._waiting, self._waiting_count = [], 0

    def absorb(self, other: "Codes") -> None:
        """Add the ids of another column, after those here."""
        self.map()
        other.map()
        here = self._encode([other.ids])
        self.codes.frombytes(here[np.frombuffer(other.codes, dtype=np.int32)].tobytes())

    def _encode(self, more: list[pa.LargeStringArray]) -> NDArray[np.int32]:
        """The codes of more ids, the new ones among them added."""
        both = pa.chunked_array([self.ids, *more], pa.large_string())
        encoded = both.dictionary_encode().combine_chunks()
        known, self.ids = len(self.ids), encoded.dictionary
        codes: NDArray[np.int32] = encoded.indices.to_numpy()[known:]
        return codes


@dataclass
class Coded:
    """Reviews as columns of integers."""

    user: Codes = field(default_factory=Codes)
    item: Codes = field(default_factory=Codes)
    rating: "array[float]" = field(default_factory=lambda: array("f"))
    timestamp: "array[int]" = field(default_factory=lambda: array("q"))
    generations: Counter[str] = field(default_factory=Counter)
    below_min_rating: int = 0

    def add(self, reviews: Sequence[Review], min_rating: float | None) -> None:
        """Add reviews, but for those rated below the minimum."""
        times = [NO_TIME if review.timestamp is None else review.timestamp for review in reviews]
        self.add_block(
            Reviews(
                pa.array([review.user_id for review in reviews], pa.large_string()),
                pa.array([review.asin for review in reviews], pa.large_string()),
                np.array([review.rating for review in reviews], dtype=np.float32),
                np.array(times, dtype=np.int64),
                Counter(review.generation for review in reviews),
            ),
            min_rating,
        )

    def add_block(self, block: Reviews, min_rating: float | None) -> None:
        """Add decoded reviews, but for those rated below the minimum."""
        user, item, rating, timestamp, generations = block
        self.generations.update(generations)
        if min_rating is not None and (rating < min_rating).any():
            kept = rating >= min_rating
            self.below_min_rating += int((~kept).sum())
            user, item = user.filter(pa.array(kept)), item.filter(pa.array(kept))
            rating, timestamp = rating[kept], timestamp[kept]
        self.user.extend(user)
        self.item.extend(item)
        self.rating.frombytes(rating.tobytes())
        self.timestamp.frombytes(timestamp.tobytes())

    def absorb(self, other: "Coded") -> None:
        """Add the reviews of another, after those here."""
        self.user.absorb(other.user)
        self.item.absorb(other.item)
        self.rating.extend(other.rating)
        self.timestamp.extend(other.timestamp)
        self.generations.update(other.generations)
        self.below_min_rating += other.below_min_rating

    def interactions(self) -> Interactions:
        """All reviews, in the order of the dump; a view, so nothing may be added while it lives."""
        self.user.map()
        self.item.map()
        return Interactions(
            np.frombuffer(self.user.codes, dtype=np.int32),
            np.frombuffer(self.item.codes, dtype=np.int32),
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
    stream = blocks(path, lines, config.allow_truncated, advance)
    if ratings:
        for first, block in stream:
            coded.add(list(lines.records(first, lines_of(block))), config.min_rating)
    else:
        with ThreadPoolExecutor(1) as pool:
            for first, block, found in _decoded(stream, pool):
                _code_block(first, block, found, config, coded, lines)
    lines.end()


def _decoded(
    stream: Iterable[tuple[int, bytes]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, bytes, Reviews | None]]:
    """The blocks in their order, decoded ahead in a thread; few at a time, to bound the memory."""
    waiting: deque[tuple[int, bytes, Future[Reviews | None]]] = deque()
    for first, block in stream:
        waiting.append((first, block, pool.submit(typed.decode, block)))
        if len(waiting) > AHEAD:
            number, content, found = waiting.popleft()
            yield number, content, found.result()
    for number, content, found in waiting:
        yield number, content, found.result()


def _code_block(
    first: int,
    block: bytes,
    found: Reviews | None,
    config: IngestConfig,
    coded: Coded,
    lines: Lines[Review],
) -> None:
    """Add a block: at once, else what can be of its pieces, else line by line."""
    if found is not None:
        lines.count(len(found.rating))
        coded.add_block(found, config.min_rating)
        return
    split = lines_of(block)
    for start in range(0, len(split), PIECE):
        piece = split[start : start + PIECE]
        found = typed.decode(b"\n".join([*piece, b""])) if len(piece) < len(split) else None
        if found is None:
            coded.add(list(lines.records(first + start, piece)), config.min_rating)
        else:
            lines.count(len(found.rating))
            coded.add_block(found, config.min_rating)
