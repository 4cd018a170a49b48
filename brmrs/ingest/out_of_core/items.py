"""The rows that describe items, when their texts do not fit in memory."""

import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pyarrow as pa

from brmrs.ingest.dataset import Item
from brmrs.ingest.gathering import IDS_SHOWN, Gathering
from brmrs.ingest.tables import ITEMS_GROUP

MOST_PARTS = 256
SAMPLED = 32  # items of which one is a Python string; searching strings is far faster
LENGTH_BYTES = 4  # in front of a record
Row = tuple[int, Item]  # position of the item, and a row of it
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Row] = msgspec.msgpack.Decoder(Row)


class SpilledItems(Gathering):
    """The rows of some items, on disk by ranges of items. Merged range by range.

    Args:
        asins: raw ids of the items, sorted.
        what: the name of the files, for the log.
        folder: of the scratch files.
        memory: bytes of rows that wait to be written.
        part: items of a range.
    """

    def __init__(
        self,
        asins: pa.LargeStringArray,
        what: str,
        folder: Path,
        memory: int,
        part: int | None = None,
    ) -> None:
        super().__init__([], what)
        groups = -(-len(asins) // ITEMS_GROUP)
        self.part = part or ITEMS_GROUP * -(-groups // MOST_PARTS)
        self._asins, self._folder, self._memory = asins, folder, memory
        self._samples: list[str] = asins.take(
            pa.array(range(0, len(asins), SAMPLED), pa.int64())
        ).to_pylist()
        self._waiting: dict[int, list[bytes]] = defaultdict(list)
        self._size = 0  # of what waits, in bytes

    def add(self, asin: str, describe: Callable[[], Item]) -> None:
        """Count a row; it is described only if the item is one of the data set."""
        position = self._position(asin)
        if position is None:
            self.note_other(asin)
            return
        row = _ENCODER.encode((position, describe()))
        self._waiting[position // self.part] += [len(row).to_bytes(LENGTH_BYTES, "little"), row]
        self._size += len(row)
        if self._size > self._memory:
            self._write()

    def parts(self) -> Iterator[list[Item]]:
        """All items in their order, by ranges. Logs what is missing after the last one."""
        self._write()
        described = 0
        lacking: list[int] = []
        for first in range(0, len(self._asins), self.part):
            found: list[Item | None] = [None] * min(self.part, len(self._asins) - first)
            for position, item in self._rows(first // self.part):
                other = found[position - first]
                self.reading.notes["duplicates"] += other is not None
                found[position - first] = item if other is None else item.merged(other)
            described += sum(item is not None for item in found)
            without = (first + place for place, item in enumerate(found) if item is None)
            lacking += islice(without, IDS_SHOWN - len(lacking))
            yield [item or Item() for item in found]
        self.report(len(self._asins), described, (self._asins[each].as_py() for each in lacking))

    def _position(self, asin: str) -> int | None:
        """Its place among the items, or None."""
        asins, part = self._asins, bisect.bisect_right(self._samples, asin) - 1
        if part < 0:
            return None
        places = range(SAMPLED * part, min(SAMPLED * (part + 1), len(asins)))
        found = bisect.bisect_left(places, asin, key=lambda each: asins[each].as_py())
        if found == len(places) or asins[places[found]].as_py() != asin:
            return None
        return places[found]

    def _write(self) -> None:
        for number, rows in self._waiting.items():
            with self._path(number).open("ab") as file:
                file.writelines(rows)
        self._waiting.clear()
        self._size = 0

    def _rows(self, number: int) -> Iterator[Row]:
        """The rows of a range, in the order they were added. Removes their file."""
        path = self._path(number)
        if not path.exists():
            return
        with path.open("rb") as file:
            while length := file.read(LENGTH_BYTES):
                yield _DECODER.decode(file.read(int.from_bytes(length, "little")))
        path.unlink()

    def _path(self, number: int) -> Path:
        return self._folder / f"items-{number}.rows"
