"""Reviews as integers: each raw id is replaced by a code, and the texts are dropped."""

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

from brmrs.config.data import IngestConfig
from brmrs.ingest.amazon import fast_decode
from brmrs.ingest.amazon.fast_decode import Reviews
from brmrs.ingest.amazon.ratings import ratings_table
from brmrs.ingest.amazon.records import Lines, blocks, reading_task
from brmrs.ingest.amazon.reviews import REVIEWS, Review
from brmrs.ingest.csv_rows import rows_of
from brmrs.ingest.dataset import Reading, check_share
from brmrs.ingest.interactions import NO_TIME, Interactions
from brmrs.ingest.lines import lines_of
from brmrs.ingest.streams import AnySink, RawRows, Sink

PIECE = 64  # lines of a piece that is read line by line if one of them is unusual
# Blocks decoded ahead. One thread decodes while another inflates, because only decoding holds the
# interpreter's lock.
AHEAD = 3
MAPPED_AT_ONCE = 1_000_000  # minimum of reviews before their ids are mapped
# Total size of files above which several processes are faster; each takes a second to start.
SEVERAL_PROCESSES = 64 << 20
OTHER_UNIT = "times_in_other_unit"  # note: reviews dated in another unit than documented


class EncodedIds:
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
        """Map the pending ids."""
        self.codes.frombytes(self._encode(self._waiting).tobytes())
        self._waiting, self._waiting_count = [], 0

    def absorb(self, other: "EncodedIds") -> None:
        """Add the ids of another column, after those here."""
        self.map()
        other.map()
        here = self._encode([other.ids])
        self.codes.frombytes(here[np.frombuffer(other.codes, dtype=np.int32)].tobytes())

    def _encode(self, more: list[pa.LargeStringArray]) -> NDArray[np.int32]:
        """The codes of more ids; new ones are added."""
        both = pa.chunked_array([self.ids, *more], pa.large_string())
        encoded = both.dictionary_encode().combine_chunks()
        known, self.ids = len(self.ids), encoded.dictionary
        codes: NDArray[np.int32] = encoded.indices.to_numpy()[known:]
        return codes


@dataclass
class EncodedReviews:
    """Reviews as columns of integers."""

    user: EncodedIds = field(default_factory=EncodedIds)
    item: EncodedIds = field(default_factory=EncodedIds)
    rating: "array[float]" = field(default_factory=lambda: array("f"))
    timestamp: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, block: RawRows) -> None:
        """Add decoded reviews."""
        self.user.extend(block.user)
        self.item.extend(block.item)
        self.rating.frombytes(block.rating.tobytes())
        self.timestamp.frombytes(block.timestamp.tobytes())

    def close(self) -> None:
        """Map the pending ids."""
        self.user.map()
        self.item.map()

    def absorb(self, other: "EncodedReviews") -> None:
        """Add the reviews of another, after those here."""
        self.user.absorb(other.user)
        self.item.absorb(other.item)
        self.rating.extend(other.rating)
        self.timestamp.extend(other.timestamp)

    def interactions(self) -> Interactions:
        """All reviews, in the order of the dump. A view: add nothing while it is in use."""
        self.close()
        return Interactions(
            np.frombuffer(self.user.codes, dtype=np.int32),
            np.frombuffer(self.item.codes, dtype=np.int32),
            np.frombuffer(self.rating, dtype=np.float32),
            np.frombuffer(self.timestamp, dtype=np.int64),
        )


def encode_reviews(paths: Sequence[Path], config: IngestConfig) -> tuple[EncodedReviews, Reading]:
    """Read review files into memory.

    Raises:
        UserError: a file cannot be read or is no dump, or too many lines are bad.
    """
    return read_reviews(paths, config, EncodedReviews)


def read_reviews(
    paths: Sequence[Path], config: IngestConfig, new_sink: Callable[[], AnySink]
) -> tuple[AnySink, Reading]:
    """Read review files, several at once if they are large.

    Raises:
        UserError: a file cannot be read or is no dump, or too many lines are bad.
    """
    sink, reading = new_sink(), Reading()
    workers = min(len(paths), os.cpu_count() or 1)
    several = workers > 1 and sum(path.stat().st_size for path in paths) > SEVERAL_PROCESSES
    with reading_task(paths, REVIEWS.field) as advance:
        if several:
            for path, part, read in _in_processes(paths, config, workers, new_sink):
                sink.absorb(part)
                reading.absorb(read)
                advance(path.stat().st_size)
        else:
            for path in paths:
                _read_file(path, config, sink, reading, advance)
            sink.close()
    check_share(REVIEWS.field, config.max_bad_share, reading)
    return sink, reading


def _in_processes(
    paths: Sequence[Path], config: IngestConfig, workers: int, new_sink: Callable[[], AnySink]
) -> Iterator[tuple[Path, AnySink, Reading]]:
    # Not forked, because this process may have threads of other stages.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            parts = pool.map(partial(_in_process, config, new_sink), paths)
            for path, (part, read) in zip(paths, parts, strict=True):
                yield path, part, read
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _in_process(
    config: IngestConfig, new_sink: Callable[[], AnySink], path: Path
) -> tuple[AnySink, Reading]:
    sink, reading = new_sink(), Reading()
    _read_file(path, config, sink, reading, lambda _: None)
    sink.close()
    return sink, reading


def _read_file(
    path: Path,
    config: IngestConfig,
    sink: Sink,
    reading: Reading,
    advance: Callable[[int], None],
) -> None:
    table = ratings_table(path)
    lines = Lines(path, table.kind if table else REVIEWS, config.max_bad_share, reading)
    stream = blocks(path, lines, config.allow_truncated, advance)
    if table:
        for first, rows in rows_of(stream, table.separator):
            _add(_columns(list(lines.records(first, rows))), sink, reading)
    else:
        with ThreadPoolExecutor(1) as pool:
            for first, block, found in decoded_ahead(stream, pool):
                for part in _parts(first, block, found, lines):
                    _add(part, sink, reading)
    lines.end()


def _add(reviews: Reviews, sink: Sink, reading: Reading) -> None:
    sink.add(reviews)
    reading.generations.update(reviews.generations)
    reading.notes[OTHER_UNIT] += reviews.other_unit


def _columns(reviews: Sequence[Review]) -> Reviews:
    """Single reviews as columns."""
    times = [NO_TIME if review.timestamp is None else review.timestamp for review in reviews]
    return Reviews(
        pa.array([review.user_id for review in reviews], pa.large_string()),
        pa.array([review.asin for review in reviews], pa.large_string()),
        np.array([review.rating for review in reviews], dtype=np.float32),
        np.array(times, dtype=np.int64),
        Counter(review.generation for review in reviews),
        sum(review.other_unit for review in reviews),
    )


def decoded_ahead(
    stream: Iterable[tuple[int, bytes]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, bytes, Reviews | None]]:
    """The blocks in their order, decoded ahead in a thread; few at a time, to bound the memory."""
    waiting: deque[tuple[int, bytes, Future[Reviews | None]]] = deque()
    for first, block in stream:
        waiting.append((first, block, pool.submit(fast_decode.decode, block)))
        if len(waiting) > AHEAD:
            number, content, found = waiting.popleft()
            yield number, content, found.result()
    for number, content, found in waiting:
        yield number, content, found.result()


def _parts(
    first: int, block: bytes, found: Reviews | None, lines: Lines[Review]
) -> Iterator[Reviews]:
    """The reviews of a block: at once, else by pieces, else line by line."""
    if found is not None:
        lines.count(len(found.rating))
        yield found
        return
    split = lines_of(block)
    for start in range(0, len(split), PIECE):
        piece = split[start : start + PIECE]
        found = fast_decode.decode(b"\n".join([*piece, b""])) if len(piece) < len(split) else None
        if found is None:
            yield _columns(list(lines.records(first + start, piece)))
        else:
            lines.count(len(found.rating))
            yield found
