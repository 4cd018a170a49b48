"""Synthetic reviews as a stream of blocks, which are never on disk.

`python bench/ingest.py --out-of-core --reviews 20000000 --memory 4GB` prints the time of each step,
the peak memory and the peak disk. Without `--memory` the same data are read in memory. Generating
them takes a tenth of the CPU time.
"""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ByteSize

from brmrs.config.data import IngestConfig
from brmrs.ingest.amazon.encode_ids import EncodedReviews, decoded_ahead
from brmrs.ingest.amazon.format import Amazon
from brmrs.ingest.dataset import Dataset, Reading
from brmrs.ingest.gathering import Gathering
from brmrs.ingest.out_of_core import read
from brmrs.ingest.out_of_core.budget import Budget
from brmrs.ingest.stage import in_memory, write
from brmrs.ingest.streams import AnySink
from brmrs.system.files import digest_file
from brmrs.system.machine import high_water

LINES = 4096  # of a block
TEXT = 300  # characters of a review; a line has 511 bytes
LETTERS = np.frombuffer(b"etaoin shrdlu ", dtype=np.uint8)
HEX = np.frombuffer(b"0123456789ABCDEF", dtype=np.uint8)
LINE = (
    b'{"overall": 5.0, "verified": true, "reviewTime": "09 1, 2016", '
    b'"reviewerID": "A~~~~~~~~~~~~~", "asin": "B~~~~~~~~~", "reviewerName": "A. Name", '
    b'"reviewText": "%s", "summary": "Good", "unixReviewTime": 1~~~~~~~~~}\n' % (b"t" * TEXT)
)
# Odd factors scatter the codes over all ids of 13 and 9 digits, as real ids are.
USER_FACTOR, ITEM_FACTOR = 0x9E3779B97F4A7, 0x9E3779B97


def blocks(count: int) -> Iterator[tuple[int, bytes]]:
    """`count` lines of the 2018 layout: count / 4 users and count / 50 items, power laws."""
    rng = np.random.default_rng(0)
    rows = np.tile(np.frombuffer(LINE, dtype=np.uint8), (LINES, 1))
    stars, user, item, text, when = (
        LINE.index(mark) for mark in (b"5.0", b"A~", b"B~", b"tt", b"1~")
    )
    rows[:, text : text + TEXT] = rng.choice(LETTERS, (LINES, TEXT))
    for first in range(0, count, LINES):
        users = (max(count // 4, 50) * rng.random(LINES) ** 2.5).astype(np.uint64)
        items = (max(count // 50, 20) * rng.random(LINES) ** 3.5).astype(np.uint64)
        rows[:, stars] = ord("1") + rng.integers(0, 5, LINES, dtype=np.uint8)
        rows[:, user + 1 : user + 14] = digits(users * np.uint64(USER_FACTOR), 13)
        rows[:, item + 1 : item + 10] = digits(items * np.uint64(ITEM_FACTOR), 9)
        rows[:, when + 1] = ord("3") + rng.integers(0, 2, LINES, dtype=np.uint8)
        rows[:, when + 2 : when + 10] = ord("0") + rng.integers(0, 10, (LINES, 8), dtype=np.uint8)
        yield first + 1, rows[: count - first].tobytes()


def digits(numbers: NDArray[np.uint64], count: int) -> NDArray[np.uint8]:
    """(n, count) the last hexadecimal digits of numbers, as characters."""
    shifts = np.arange(4 * (count - 1), -1, -4, dtype=np.uint64)
    found: NDArray[np.uint8] = HEX[(numbers[:, None] >> shifts) & np.uint64(15)]
    return found


class Synthetic(Amazon):
    """A dump format that generates its reviews."""

    describing = "metadata"

    def __init__(self, count: int) -> None:
        self.count = count

    def stream(
        self, config: IngestConfig, new_sink: Callable[[], AnySink]
    ) -> tuple[AnySink, Reading]:
        """Generate in this thread, decode in another."""
        del config
        sink = new_sink()
        with ThreadPoolExecutor(1) as pool:
            for _, _, found in decoded_ahead(blocks(self.count), pool):
                assert found is not None
                sink.add(found)
        sink.close()
        return sink, Reading(files=1, lines=self.count)

    def read(self, config: IngestConfig) -> Dataset:
        """The same in memory."""
        encoded, reading = self.stream(config, EncodedReviews)
        return Dataset(encoded.interactions(), encoded.user.ids, encoded.item.ids, reading=reading)

    def describe(self, config: IngestConfig, rows: Gathering) -> None:
        """There is no metadata."""


class Disk:
    """The most bytes that scratch files took, also those without a name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.peak, self._ended = folder, 0, threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            self.peak = max(self.peak, sum(self._sizes()))

    def _sizes(self) -> Iterator[int]:
        for link in [*self.folder.rglob("*"), *Path("/proc/self/fd").iterdir()]:
            try:
                target = os.readlink(link) if link.is_symlink() else ""
                nameless = target.startswith(str(self.folder)) and target.endswith("(deleted)")
                if nameless or link.parent == self.folder:
                    yield link.stat().st_size
            except OSError:  # gone
                continue

    def end(self) -> int:
        """Stop looking."""
        self._ended.set()
        return self.peak


def measure(count: int, memory: int | None) -> None:
    """Read `count` generated reviews and print what it took; None: in memory."""
    logging.basicConfig(format="%(relativeCreated)9.0f ms  %(message)s", level=logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        scratch, out = Path(folder) / "scratch", Path(folder) / "out"
        scratch.mkdir()
        out.mkdir()
        disk = Disk(scratch)
        began, cpu = time.perf_counter(), time.process_time()
        if memory:
            config = IngestConfig(memory=ByteSize(memory))
            statistics = read.run(Synthetic(count), config, Budget(scratch, memory), out)
        else:
            ingested = in_memory(Synthetic(count), IngestConfig())
            write(ingested, out)
            statistics = ingested.statistics
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        written = sum(path.stat().st_size for path in out.iterdir())
        print({path.name: digest_file(path)[:12] for path in sorted(out.glob("*.parquet"))})
        taken = disk.end()
    before = statistics["before_k_core"]
    print(
        f"\n{count:,} reviews of {before['users']:,} users, {before['items']:,} items; 5-core "
        f"{statistics['interactions']:,} interactions of {statistics['users']:,} users, "
        f"{statistics['items']:,} items; "
        + (f"out of core, limit {memory / 1e9:g} GB" if memory else "in memory")
    )
    print("| reviews | wall min | CPU min | wall s/M | CPU s/M | peak GB | disk GB | written GB |")
    print("|---|---|---|---|---|---|---|---|")
    millions, peak = count / 1e6, high_water()
    print(
        f"| {count:,} | {wall / 60:.1f} | {cpu / 60:.1f} | {wall / millions:.2f} | "
        f"{cpu / millions:.2f} | {peak / 1e9:.2f} | {taken / 1e9:.2f} | {written / 1e9:.2f} |"
    )
