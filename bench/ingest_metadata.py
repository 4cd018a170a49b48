"""The metadata of millions of items, out of core: parsed, spilled, merged and written.

    OMP_NUM_THREADS=1 python bench/ingest_metadata.py --items 2000000 --memory 2GB

The lines are generated as a stream, in the layout of 2018: titles of 9 words, descriptions of 0 to
160, three features, two addresses of pictures; about 1,000 bytes a line, in random order. Every
item is one of the data set. Generating is measured by itself and left out of the times.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from ingest_stream import ITEM_FACTOR, Disk, digits

from brmrs.config.data import IngestConfig
from brmrs.ingest.amazon.metadata import METADATA, read_lines
from brmrs.ingest.amazon.records import Lines
from brmrs.ingest.lines import lines_of
from brmrs.ingest.out_of_core.items import SpilledItems
from brmrs.ingest.out_of_core.read import write_items
from brmrs.ingest.tables import CoreStatistics
from brmrs.system.machine import high_water

LINES = 1000  # of a block
WORDS = [f"w{number:x}" * (1 + number % 3) for number in range(50_000)]


def ids(count: int) -> list[str]:
    """Distinct ids of ten characters."""
    codes = np.arange(count, dtype=np.uint64) * np.uint64(ITEM_FACTOR)
    return [f"B{row.tobytes().decode()}" for row in digits(codes, 9)]


def blocks(asins: list[str]) -> Iterator[bytes]:
    """Blocks of lines, in random order of the items."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(asins))
    for start in range(0, len(order), LINES):
        lengths = rng.integers(0, 160, LINES)
        words = iter([WORDS[each] for each in rng.integers(0, len(WORDS), int(lengths.sum()))])
        titles = rng.integers(0, len(WORDS), (LINES, 9))
        lines = []
        for place, number in enumerate(order[start : start + LINES]):
            title = " ".join(WORDS[each] for each in titles[place])
            row = {
                "category": ["Electronics", "Accessories", title[:12]],
                "description": [" ".join(next(words) for _ in range(lengths[place]))],
                "title": title,
                "feature": [title[:40], title[10:60], "Money &amp; time back"],
                "brand": title[:9],
                "imageURLHighRes": [f"https://example.com/{number}-{n}.jpg" for n in range(2)],
                "asin": asins[number],
            }
            lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        yield b"".join(lines)


def main() -> None:
    """Print the times, the peaks and the bytes of the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--memory", default="2GB", help="as ingest.memory")
    arguments = parser.parse_args()
    memory = IngestConfig(memory=arguments.memory).memory
    assert memory is not None
    asins = ids(arguments.items)
    in_order = pa.array(sorted(asins), pa.large_string())
    generating, size, before = 0.0, 0, high_water()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        disk = Disk(folder)
        rows = SpilledItems(in_order, "metadata", folder, memory // 4)
        lines = Lines(Path("generated"), METADATA, 0.01, rows.reading)
        began, first = time.process_time(), 1
        stream = blocks(asins)
        while True:
            started = time.process_time()
            block = next(stream, None)
            generating += time.process_time() - started
            if block is None:
                break
            size += len(block)
            of_block = lines_of(block)
            read_lines(lines.records(first, of_block), rows)
            first += len(of_block)
        read = time.process_time() - began - generating
        write_items(folder / "items.parquet", in_order, rows, CoreStatistics())
        both = time.process_time() - began - generating
        written, taken = (folder / "items.parquet").stat().st_size, disk.end()
    millions = arguments.items / 1e6
    print(f"{arguments.items:,} items, {size / arguments.items:,.0f} bytes a line")
    print("| items | CPU min | CPU s/M reading | CPU s/M merging | peak GB | disk GB | table GB |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {arguments.items:,} | {both / 60:.1f} | {read / millions:.1f} | "
        f"{(both - read) / millions:.1f} | {high_water() / 1e9:.2f} ({before / 1e9:.2f} before) | "
        f"{taken / 1e9:.2f} | {written / 1e9:.2f} |"
    )


if __name__ == "__main__":
    main()
