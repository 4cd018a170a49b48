"""Decides whether a dump fits in memory, and how much is held at once if it does not."""

import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.lines import CutOffError, feeds, read_blocks
from brmrs.ingest.streams import StreamedFormat
from brmrs.system.files import remove
from brmrs.system.ram import free_for_cpu

LOG = logging.getLogger(__name__)
# Bytes a line. docs/scale.md has the measurements.
IN_MEMORY = {"reviews": 130, "metadata": 1500}
ON_DISK = {"reviews": 40, "metadata": 1500}
CHUNK_ROW, ID, ROW = 250, 150, 100  # bytes of memory: of a row of a chunk, an id, a row of a part
LARGEST_CHUNK = 4_000_000  # rows
SHARE = 0.6  # of the free memory that is used without a setting
SAMPLE = 32 << 20  # decompressed bytes that are read to estimate the lines of a file


@dataclass(frozen=True)
class Budget:
    """What is held in memory at once.

    Attributes:
        folder: of the scratch files; empty.
        memory: bytes.
        processes: number of processes that may read at the same time.
    """

    folder: Path
    memory: int
    processes: int = 1

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk of a process."""
        return min(LARGEST_CHUNK, max(1, self.memory // (2 * CHUNK_ROW * self.processes)))

    @property
    def ids(self) -> int:
        """Ids that are merged at once."""
        return max(1, self.memory // (2 * ID))

    @property
    def rows(self) -> int:
        """Rows of a range of users."""
        return max(1, self.memory // (2 * ROW))


def budget_of(dump_format: StreamedFormat, config: IngestConfig, scratch: Path) -> Budget | None:
    """How to read the dump out of core; None: it fits in memory.

    The estimate, and the disk that is needed, are logged before anything is read.

    Raises:
        UserError: a file is missing, or the disk has not enough space.
    """
    folder = scratch / "out_of_core"
    remove(folder)  # of a run that was killed
    files = dump_format.fingerprint(config)
    lines = {kind: sum(map(lines_of_file, files.get(kind, ()))) for kind in IN_MEMORY}
    need = sum(IN_MEMORY[kind] * count for kind, count in lines.items())
    free = free_for_cpu()
    limit = int(config.memory or (need if free is None else SHARE * free))
    name = "ingest.memory" if config.memory else f"{SHARE:.0%} of the free memory"
    about = f"about {lines['reviews']:,.0f} reviews and {lines['metadata']:,.0f} items"
    if need <= limit:
        LOG.info(
            "ingest: %s fit in memory: %s of %s (%s)", about, _shown(need), _shown(limit), name
        )
        return None
    disk = sum(ON_DISK[kind] * count for kind, count in lines.items())
    LOG.info(
        "ingest: %s would take %s of memory, more than %s (%s); out of core, they take %s of disk "
        "in %s",
        *(about, _shown(need), _shown(limit), name, _shown(disk), folder),
    )
    if (there := shutil.disk_usage(scratch).free) < disk:
        raise UserError(
            f"ingest.memory: reading {about} out of core takes {_shown(disk)} of disk in {folder}, "
            f"which has {_shown(there)}; free space, or raise ingest.memory"
        )
    folder.mkdir()
    return Budget(folder, limit, min(len(files["reviews"]), os.cpu_count() or 1))


def _shown(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def lines_of_file(path: Path) -> float:
    """An estimate of the number of lines of a file, by its first ones."""
    lines = size = taken = 0

    def advance(count: int) -> None:
        nonlocal taken
        taken += count

    blocks: Iterable[tuple[int, bytes]] = read_blocks(path, advance)
    try:
        for _, block in blocks:
            lines += feeds(block) or 1
            size += len(block)
            if size >= SAMPLE and taken:
                return lines * max(1.0, path.stat().st_size / taken)
    except CutOffError:
        pass  # reported when it is read
    return lines
