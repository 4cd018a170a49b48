"""Measure the speed of reading dumps: `python bench/ingest.py --reviews 1000000` prints a table.

It writes a synthetic dump into a temporary folder. Every contender runs in a separate process,
`REPEATS` times (once beyond a million lines); the table shows the best wall time, the CPU time of
that run and the peak memory.
"""

import argparse
import ast
import gzip
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.json as pj
from ingest_stream import measure
from isal import igzip, isal_zlib

from brmrs.config.data import IngestConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.ingest.amazon.fast_decode import decode
from brmrs.ingest.amazon.literals import literal
from brmrs.ingest.kcore import k_core
from brmrs.ingest.lines import lines_of, read_blocks
from brmrs.ingest.stage import run
from brmrs.stages import StageContext

REPEATS = 3
IN_MEMORY = 1_000_000  # lines; above it, only the contenders of LARGE run, once
LARGE = ("inflate, zlib", "inflate, ISA-L", "brmrs, to Parquet", "polars scan_ndjson")
LITERALS = 20_000  # lines of metadata
TEXTS = 20_000  # distinct review texts, ten megabytes, much more than gzip's window
CORE = 50_000_000  # interactions, of 5 million users and 1 million items


class Result(NamedTuple):
    """The best of several runs."""

    wall: float  # seconds
    cpu: float  # seconds
    peak: int  # MB


def write_reviews(path: Path, count: int) -> int:
    """A dump of 2018 with power-law users and items; returns its decompressed bytes."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("etaoinshrdlu"), rng.integers(2, 9))) for _ in range(5000)]
    chances = 1 / np.arange(1, 5001)
    texts = [
        json.dumps(" ".join(words[i] for i in rng.choice(5000, size, p=chances / chances.sum())))
        for size in np.minimum(rng.lognormal(3.9, 0.9, TEXTS).astype(int) + 1, 1500)
    ]
    total = 0
    with igzip.open(path, "wb", compresslevel=3) as file:
        for start in range(0, count, 10_000):
            size = min(10_000, count - start)
            columns = (
                (power_law(rng, size, max(count // 4, 50), 2.5)).tolist(),
                (power_law(rng, size, max(count // 50, 20), 3.5)).tolist(),
                rng.integers(1, 6, size).tolist(),
                rng.integers(0, TEXTS, size).tolist(),
                rng.integers(1_300_000_000, 1_500_000_000, size).tolist(),
            )
            lines = "".join(
                f'{{"overall": {stars}.0, "verified": true, "reviewTime": "09 1, 2016", '
                f'"reviewerID": "A{user:013X}", "asin": "B{item:09X}", "reviewerName": "A. Name", '
                f'"reviewText": {texts[text]}, "summary": "Good", "unixReviewTime": {when}}}\n'
                for user, item, stars, text, when in zip(*columns, strict=True)
            ).encode()
            total += len(lines)
            file.write(lines)
    return total


def power_law(rng: np.random.Generator, size: int, among: int, power: float) -> Any:
    """`size` codes below `among`; low codes are the most frequent."""
    return (among * rng.random(size) ** power).astype(np.int32)


def write_metadata(count: int) -> list[str]:
    """Python literals like those of 2014; one in three holds a quote or an escape."""
    rng = np.random.default_rng(0)
    words = ["toy", "blue", "for", "gardens", "the", "of", "kitchen", "new", "12", "steel"] * 9
    words += ["kid's", '5"', "caf\\xe9"]
    asins = [f"B{number:09X}" for number in range(1000)]
    return [
        repr(
            {
                "asin": f"{number:010d}",
                "title": " ".join(rng.choice(words, 8)),
                "price": round(float(rng.random() * 50), 2),
                "imUrl": "http://ecx.images-amazon.com/images/I/51.jpg",
                "related": {"also_bought": rng.choice(asins, rng.integers(60)).tolist()},
                "salesRank": {"Toys": int(rng.integers(10**6))},
                "categories": [["Sports & Outdoors", "Other Sports", "Dance"]],
                "description": " ".join(rng.choice(words, rng.integers(120))),
            }
        )
        for number in range(count)
    ]


def usual_loop(path: Path) -> None:
    """A notebook's code, in polars as in pandas."""
    with gzip.open(path) as file:
        rows = [json.loads(line) for line in file]
    pl.DataFrame(rows)


def inflate(path: Path, start: Callable[[], Any]) -> None:
    """Only inflate."""
    member = start()
    with path.open("rb") as file:
        while block := file.read(1 << 17):
            member.decompress(block)


def each_line(path: Path, load: Callable[[bytes], object]) -> None:
    """Inflate with ISA-L as ingest does, parse every line, keep nothing."""
    for _, block in read_blocks(path, lambda _: None):
        for line in lines_of(block):
            load(line)


def by_arrow(path: Path) -> None:
    """Read only the needed fields with Arrow's reader, by blocks, in one thread."""
    fields = {"reviewerID": pa.string(), "asin": pa.string(), "overall": pa.float64()}
    schema = pa.schema({**fields, "unixReviewTime": pa.int64(), "verified": pa.bool_()})
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    for _, block in read_blocks(path, lambda _: None):
        options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
        pj.read_json(pa.BufferReader(block), read_options=options, parse_options=parse)


def by_msgspec(path: Path) -> None:
    """Decode as brmrs does, but in one thread and without keeping anything."""
    for _, block in read_blocks(path, lambda _: None):
        decode(block)


def by_polars(path: Path) -> None:
    """Polars' own scan of the needed fields, streaming."""
    schema = {"reviewerID": pl.String, "asin": pl.String, "overall": pl.Float32}
    pl.scan_ndjson(path, schema=schema | {"unixReviewTime": pl.Int64}).collect(engine="streaming")


def by_pandas(path: Path) -> None:
    """Pandas' reader of JSON lines, which keeps every column."""
    import_module("pandas").read_json(path, lines=True)  # not one of our requirements


def by_brmrs(path: Path) -> None:
    """The stage: quarantine, latest of a pair, 5-core, Parquet."""
    config = PipelineConfig(ingest=IngestConfig(reviews=(path,)))
    with tempfile.TemporaryDirectory() as out:
        run(StageContext(config, {}, Path(out), Path(out)))


def core(_: Path) -> None:
    """The 5-core of `CORE` power-law interactions."""
    rng = np.random.default_rng(0)
    user, item = power_law(rng, CORE, 5_000_000, 4.0), power_law(rng, CORE, 1_000_000, 6.0)
    Clock.restart()
    k_core(user, item, 5)


def literals(_: Path, read: Callable[[str], object]) -> None:
    """Read the metadata lines."""
    lines = write_metadata(LITERALS)
    Clock.restart()
    for line in lines:
        read(line)


class Clock:
    """Wall and CPU time since the last restart."""

    began = (0.0, 0.0)

    @classmethod
    def restart(cls) -> None:
        """Count from now."""
        cls.began = (time.perf_counter(), time.process_time())


def measured(contender: Callable[[Path], None], path: Path) -> Result:
    """One run in this process. Start a new process for each, as the peak never falls."""
    Clock.restart()
    contender(path)
    wall, cpu = time.perf_counter() - Clock.began[0], time.process_time() - Clock.began[1]
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return Result(wall, cpu, int(peak.split()[1]) // 1024)


def best(contender: Callable[[Path], None], path: Path, repeats: int) -> Result:
    """The best run of several new processes."""
    context = get_context("spawn")
    results = []
    for _ in range(repeats):
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            results.append(pool.submit(measured, contender, path).result())
    return min(results)


def compare(count: int, kcore: bool) -> None:
    """Print the table."""
    contenders: dict[str, Callable[[Path], None]] = {
        "inflate, zlib": partial(inflate, start=partial(zlib.decompressobj, 31)),
        "inflate, ISA-L": partial(inflate, start=partial(isal_zlib.decompressobj, 31)),
        "brmrs, to Parquet": by_brmrs,
        "polars scan_ndjson": by_polars,
        **({"pandas read_json": by_pandas} if find_spec("pandas") else {}),
        "ISA-L + Arrow": by_arrow,
        "ISA-L + msgspec": by_msgspec,
        "ISA-L + orjson": partial(each_line, load=orjson.loads),
        "ISA-L + json": partial(each_line, load=json.loads),
        "usual loop": usual_loop,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.json.gz"
        size = write_reviews(path, count)
        print(f"{count:,} reviews, {size / 1e6:,.0f} MB, {os.cpu_count()} cores\n")
        print("| what | wall s | CPU s | lines/s | MB/s | peak MB |\n|---|---|---|---|---|---|")
        found = {}
        for name, contender in contenders.items():
            if count > IN_MEMORY and name not in LARGE:
                continue
            repeats = REPEATS if count <= IN_MEMORY else 1
            found[name] = wall, cpu, peak = best(contender, path, repeats)
            rate = f"{count / wall:,.0f} | {size / 1e6 / wall:,.0f}"
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {rate} | {peak:,} |", flush=True)
        for name, read in (("literal_eval", ast.literal_eval), ("brmrs literals", literal)):
            found[name] = wall, cpu, peak = best(partial(literals, read=read), path, REPEATS)
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {LITERALS / wall:,.0f} | | {peak:,} |")
        if kcore:
            wall, cpu, peak = best(core, path, 1)
            rate = f"{CORE / wall:,.0f}"
            print(f"| 5-core of 50 million | {wall:.2f} | {cpu:.2f} | {rate} | | {peak:,} |")
    print()
    ratio("brmrs to inflating, ISA-L (at most 2)", found, "brmrs, to Parquet", "inflate, ISA-L")
    ratio("brmrs to inflating, zlib", found, "brmrs, to Parquet", "inflate, zlib")
    ratio("usual loop to brmrs (at least 8)", found, "usual loop", "brmrs, to Parquet")
    ratio("literal_eval to brmrs (at least 5)", found, "literal_eval", "brmrs literals")


def ratio(title: str, found: dict[str, Result], over: str, under: str) -> None:
    """Print one ratio, of wall and of CPU times."""
    if over in found:
        one, other = found[over], found[under]
        print(f"{title}: {one.wall / other.wall:.1f} wall, {one.cpu / other.cpu:.1f} CPU")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=100_000)
    parser.add_argument("--kcore", action="store_true", help="also the 5-core of 50 million")
    parser.add_argument("--out-of-core", action="store_true", help="a generated stream, by disk")
    parser.add_argument("--memory", help="of --out-of-core; without it in memory, to compare")
    arguments = parser.parse_args()
    if arguments.out_of_core:
        measure(arguments.reviews, IngestConfig(memory=arguments.memory).memory)
    else:
        compare(arguments.reviews, arguments.kcore)
