"""Writes rows to disk in chunks: each with its own codes, and its distinct ids as sorted runs."""

import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brmrs.ingest.out_of_core import files
from brmrs.ingest.out_of_core.runs import BATCH, Run, encode_sorted
from brmrs.ingest.streams import RawRows


@dataclass(frozen=True)
class Chunk:
    """Some rows on disk. Their codes are positions in the runs.

    Attributes:
        path: of records `files.ROW`.
        users: the distinct user ids of these rows.
        items: the distinct item ids of these rows.
    """

    path: Path
    users: Run
    items: Run


@dataclass
class Chunks:
    """Collects rows and writes them in chunks; a `Sink`.

    Attributes:
        folder: of the files; several processes may write there.
        at_once: rows of a chunk, about.
        done: the chunks written.
        rows: number of rows added.
    """

    folder: Path
    at_once: int
    done: list[Chunk] = field(default_factory=list)
    rows: int = 0
    _waiting: list[RawRows] = field(default_factory=list)
    _waiting_count: int = 0

    def add(self, rows: RawRows) -> None:
        """Add rows."""
        self._waiting.append(rows)
        self._waiting_count += len(rows.rating)
        if self._waiting_count >= self.at_once:
            self.close()

    def absorb(self, other: "Chunks") -> None:
        """Add the chunks that another process wrote into the same folder."""
        self.done += other.done
        self.rows += other.rows

    def close(self) -> None:
        """Write what is waiting."""
        if not self._waiting_count:
            return
        name, batch = uuid.uuid4().hex, min(BATCH, max(1, self.at_once // 16))
        rows = np.empty(self._waiting_count, dtype=files.ROW)
        users, rows["user"] = encode_sorted([part.user for part in self._waiting])
        items, rows["item"] = encode_sorted([part.item for part in self._waiting])
        rows["rating"] = np.concatenate([part.rating for part in self._waiting])
        rows["timestamp"] = np.concatenate([part.timestamp for part in self._waiting])
        path = self.folder / f"{name}.rows"
        files.append(path, rows)
        runs = (
            Run.write(self.folder / f"{name}-{kind}.ids", ids, batch)
            for kind, ids in (("users", users), ("items", items))
        )
        self.done.append(Chunk(path, *runs))
        self.rows += len(rows)
        self._waiting, self._waiting_count = [], 0
