"""The tables of one field of the configuration: heads, chunks, counts, and the quarantine."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.dataset import BadLine, Reading, check_share
from brmrs.ingest.files import TABLE_NAME, dump_files
from brmrs.ingest.table import names
from brmrs.ingest.table.chunks import Chunk, chunks
from brmrs.ingest.table.head import Head, read_head
from brmrs.ingest.table.names import Named
from brmrs.system import progress

LOG = logging.getLogger(__name__)
CONTENT_KEPT = 200  # characters of a bad line in the quarantine
BAD_BEFORE_GIVING_UP = 10_000  # bounds the memory that the quarantine of a bad file takes
LATIN = "not UTF-8"
MEGABYTE = 1 << 20


class Tables:
    """The tables that one field names.

    Args:
        field: dotted path of the field, for errors.
        paths: its value, files and folders.
        config: limits of bad lines.

    Raises:
        UserError: a file is missing or no table.
    """

    def __init__(self, field: str, paths: Sequence[Path], config: IngestConfig) -> None:
        self.field, self.config = field, config
        self.reading = Reading()
        self.heads = [read_head(path) for path in dump_files(paths, field, TABLE_NAME)]
        self.reading.files = len(self.heads)

    def note(self, head: Head, named: Named) -> None:
        """Report the columns of a table in the log and the statistics."""
        LOG.info("%s", names.report(head.path, named))
        self.reading.columns[head.path.name] = named.described()
        if named.ignored:
            self.reading.not_read[head.path.name] = list(named.ignored)

    def chunks(self, head: Head, columns: Sequence[str]) -> Iterator[Chunk]:
        """The rows of a table. Lines that are no row go to the quarantine."""
        megabytes = head.path.stat().st_size // MEGABYTE
        with progress.task(f"reading {head.path.name} (MB)", megabytes) as task:
            pending = 0

            def advance(count: int) -> None:
                nonlocal pending
                pending += count
                task.advance(pending // MEGABYTE)
                pending %= MEGABYTE

            def reject(line: int, reason: str, content: bytes) -> None:
                shown = content[: 4 * CONTENT_KEPT].decode("utf-8", "replace")
                self.reject(head.path, line, reason, shown)

            yield from chunks(
                head, columns, reject, advance, allow_truncated=self.config.allow_truncated
            )

    def reject(self, path: Path, line: int, reason: str, content: str) -> None:
        """Put a line into the quarantine.

        Raises:
            UserError: far too many lines are bad.
        """
        self.reading.lines += 1
        self.reading.quarantine.append(BadLine(path.name, line, reason, content[:CONTENT_KEPT]))
        if len(self.reading.quarantine) > BAD_BEFORE_GIVING_UP:
            self.end()

    def count(self, good: int) -> None:
        """Count good rows."""
        self.reading.lines += good
        self.reading.generations["table"] += good

    def end(self) -> None:
        """Check the share of bad lines.

        Raises:
            UserError: it is above `ingest.max_bad_share`.
        """
        reasons = self.reading.reasons()
        try:
            check_share(self.field, self.config.max_bad_share, self.reading)
        except UserError as error:
            if 2 * reasons.get(LATIN, 0) > len(self.reading.quarantine):
                hint = "is the file Latin-1? iconv -f LATIN1 -t UTF-8 converts it"
                raise UserError(f"{error}; {hint}") from error
            raise
