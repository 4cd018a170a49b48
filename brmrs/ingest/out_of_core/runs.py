"""Numbers raw ids in sorted order, when not all of them fit in memory.

Each chunk of the data writes its distinct ids, sorted, into a file: a run. The first id of every
batch of a run is remembered. These samples split all ids into ranges of about equal size. Range by
range, the runs are merged, and each distinct id gets the next code.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from brmrs.ingest.out_of_core import files

BATCH = 8192  # ids; one of them is a sample
SCHEMA = pa.schema([("id", pa.large_string())])
OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def encode_sorted(
    ids: Sequence[pa.LargeStringArray],
) -> tuple[pa.LargeStringArray, NDArray[np.int32]]:
    """The distinct ids, sorted by UTF-8 bytes, and each id's position among them."""
    encoded = pa.chunked_array(ids, pa.large_string()).dictionary_encode().combine_chunks()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    position = np.empty(len(order), dtype=np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)
    return encoded.dictionary.take(pa.array(order)), position[encoded.indices.to_numpy()]


@dataclass(frozen=True)
class Run:
    """A file of distinct ids, sorted.

    Attributes:
        path: the file.
        count: number of ids.
        batch: ids of every batch of the file but the last.
        samples: the first id of each batch.
    """

    path: Path
    count: int
    batch: int
    samples: list[str]

    @classmethod
    def write(cls, path: Path, ids: pa.LargeStringArray, batch: int = BATCH) -> "Run":
        """Write sorted distinct ids."""
        with (
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_file(file, SCHEMA, options=OPTIONS) as to,
        ):
            to.write_table(pa.table([ids], schema=SCHEMA), max_chunksize=batch)
        return cls(path, len(ids), batch, ids.take(pa.array(range(0, len(ids), batch))).to_pylist())

    def between(self, lower: str | None, upper: str | None) -> list[pa.LargeStringArray]:
        """The ids from `lower` up to but not `upper`; None: no bound."""
        start = 0 if lower is None else max(0, bisect.bisect_right(self.samples, lower) - 1)
        end = len(self.samples) if upper is None else bisect.bisect_left(self.samples, upper)
        if start >= end:
            return []
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_file(file) as reader:
            batches = [reader.get_batch(number).column(0) for number in range(start, end)]
        batches[-1] = batches[-1].slice(0, _below(batches[-1], upper))
        batches[0] = batches[0].slice(0 if lower is None else _below(batches[0], lower))
        return batches

    @property
    def codes_path(self) -> Path:
        """The file of the codes of its ids, in their order."""
        return self.path.with_suffix(".codes")

    def remove(self) -> None:
        """Remove its ids; the codes stay."""
        self.path.unlink()

    def codes(self) -> NDArray[np.int32]:
        """(count,) the code of each id, after `number`."""
        return files.read(self.codes_path, files.CODE)


def _below(ids: pa.LargeStringArray, bound: str | None) -> int:
    """The number of sorted ids below a bound."""
    return len(ids) if bound is None else pc.sum(pc.less(ids, bound)).as_py() or 0


@dataclass(frozen=True)
class Numbered:
    """All distinct ids in sorted order, in files; an id's code is its position.

    Attributes:
        runs: one for each range of ids, in order.
        count: number of ids.
    """

    runs: list[Run]
    count: int

    def parts(self) -> Iterator[tuple[int, pa.LargeStringArray]]:
        """The ids range by range, each with the code of its first id."""
        first = 0
        for run in self.runs:
            yield (
                first,
                pa.chunked_array(run.between(None, None), pa.large_string()).combine_chunks(),
            )
            first += run.count


def number(runs: Sequence[Run], folder: Path, name: str, at_once: int) -> Numbered:
    """Number the distinct ids of all runs; their ids are removed, their codes written.

    Args:
        runs: with ids that may be in several.
        folder: of the files of the result.
        name: the start of the names of these files.
        at_once: ids, about, that are merged in memory.
    """
    bounds = [None, *_bounds(runs, at_once), None]
    merged, count = [], 0
    for part, (lower, upper) in enumerate(pairwise(bounds)):
        slices = [run.between(lower, upper) for run in runs]
        ids, codes = encode_sorted([batch for batches in slices for batch in batches])
        ends = np.cumsum([sum(map(len, batches)) for batches in slices])
        for run, own in zip(runs, np.split(codes, ends[:-1]), strict=True):
            files.append(run.codes_path, own + np.int32(count))
        merged.append(Run.write(folder / f"{name}-{part}.ids", ids))
        count += len(ids)
    for run in runs:
        run.remove()
    return Numbered(merged, count)


def _bounds(runs: Sequence[Run], at_once: int) -> list[str]:
    """Ids that split all ids into ranges of about `at_once` or fewer, ascending. None is empty."""
    samples = sorted(sample for run in runs for sample in run.samples)
    ranges = -(-sum(run.count for run in runs) // at_once)
    bounds = {samples[len(samples) * each // ranges] for each in range(1, ranges)}
    return sorted(bounds - {samples[0]})
