"""Records of a dump: a line is parsed or quarantined with a reason, what is no dump is refused."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import orjson

from brmrs.errors import UserError
from brmrs.ingest.amazon.lines import MAX_LINE, CutOffError, lines_of, read_blocks
from brmrs.ingest.amazon.literals import literal
from brmrs.system import progress

MAX_LITERAL = 1_000_000  # bytes; a syntax tree takes a hundred times its text
MAX_ID = 256  # characters; those of the public dumps have 10 to 28
CONTENT_KEPT = 200  # characters of a bad line that the quarantine shows
LINES_TRIED = 100  # before a file is called no dump
BAD_LINES_BEFORE_GIVING_UP = 10_000  # bounds the quarantine's memory where a whole file is bad
MEGABYTE = 1 << 20

Record = TypeVar("Record", covariant=True)


class RejectedError(Exception):
    """The line cannot be used; the message is the reason, one of a few."""


class BadLine(NamedTuple):
    """A line of the quarantine."""

    file: str  # name, not path
    line: int  # from 1
    reason: str
    content: str


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """What a file is read as.

    Attributes:
        field: the configuration field that names the files.
        expected: what a line should be, for errors.
        parse: a line to its record; raises `RejectedError`.
        header: the first line of a file names columns.
    """

    field: str
    expected: str
    parse: Callable[[bytes], Record]
    header: bool = False


@dataclass
class Reading:
    """Counts of what was read.

    Attributes:
        files: how many.
        lines: lines that are not blank.
        quarantine: the bad ones, in the order they were met.
    """

    files: int = 0
    lines: int = 0
    quarantine: list[BadLine] = field(default_factory=list)

    def absorb(self, other: "Reading") -> None:
        """Add the counts of other files, read after these."""
        self.files += other.files
        self.lines += other.lines
        self.quarantine += other.quarantine

    def reasons(self) -> dict[str, int]:
        """The number of bad lines by reason."""
        return dict(Counter(bad.reason for bad in self.quarantine))


class Lines(Generic[Record]):
    """The lines of one file on their way to records or to the quarantine."""

    def __init__(
        self, path: Path, kind: Kind[Record], max_bad_share: float, reading: Reading
    ) -> None:
        self.path = path
        self.kind = kind
        self.max_bad_share = max_bad_share
        self.reading = reading
        self.tried = self.good = 0
        self._first_bad = b""
        reading.files += 1

    def records(self, first: int, lines: Iterable[bytes]) -> Iterator[Record]:
        """The records of consecutive lines, of which the first has the number `first`.

        Raises:
            UserError: the file seems to be no dump at all, or far too many lines are bad.
        """
        for number, line in enumerate(lines, start=first):
            if not line or line.isspace() or (self.kind.header and number == 1):
                continue
            self.reading.lines += 1
            self.tried += 1
            try:
                if len(line) > MAX_LINE:
                    raise RejectedError(f"longer than {MAX_LINE:,} bytes")
                record = self.kind.parse(line)
            except RejectedError as error:
                self._reject(number, line, str(error))
            else:
                self.good += 1
                yield record

    def count(self, good: int) -> None:
        """Count lines that were read by other means, all of them good."""
        self.reading.lines += good
        self.tried += good
        self.good += good

    def cut_off(self, line: int) -> None:
        """Note in the quarantine that the file ends in the middle of a line."""
        self.reading.lines += 1
        self._reject(line, b"", "cut off: the file ends in this line")

    def end(self) -> None:
        """Check that the file held records.

        Raises:
            UserError: it did not.
        """
        if not self.tried:
            raise UserError(f"{self.path}: the file is empty; remove it from {self.kind.field}")
        if not self.good:
            raise UserError(
                f"{self.path}: not a dump that {self.kind.field} can read: expected "
                f"{self.kind.expected}, found {describe(self._first_bad)}"
            )

    def _reject(self, number: int, line: bytes, reason: str) -> None:
        self._first_bad = self._first_bad or line
        content = line[: 4 * CONTENT_KEPT].decode("utf-8", "replace")[:CONTENT_KEPT]
        self.reading.quarantine.append(BadLine(self.path.name, number, reason, content))
        if len(self.reading.quarantine) > BAD_LINES_BEFORE_GIVING_UP:
            check_share(self.kind.field, self.max_bad_share, self.reading)
        if self.tried == LINES_TRIED and not self.good:
            self.end()


def read(
    paths: Sequence[Path],
    kind: Kind[Record],
    max_bad_share: float,
    reading: Reading,
    allow_truncated: bool = False,
) -> Iterator[Record]:
    """Stream the records of all files; bad lines go to `reading`, blank ones are skipped.

    Args:
        paths: the files.
        kind: what they are read as.
        max_bad_share: of all their lines that may be bad.
        reading: counts, filled on the way.
        allow_truncated: use what is there of a compressed file that ends too early.

    Raises:
        UserError: a file cannot be read or holds something else, or too many lines are bad.
    """
    with reading_task(paths, kind.field) as advance:
        for path in paths:
            lines = Lines(path, kind, max_bad_share, reading)
            for first, block in blocks(path, lines, allow_truncated, advance):
                yield from lines.records(first, lines_of(block))
            lines.end()
    check_share(kind.field, max_bad_share, reading)


def blocks(
    path: Path, lines: Lines[Any], allow_truncated: bool, advance: Callable[[int], None]
) -> Iterator[tuple[int, bytes]]:
    """`read_blocks`, with the end of a truncated file in the quarantine if that is allowed."""
    try:
        yield from read_blocks(path, advance)
    except CutOffError as error:
        if not allow_truncated:
            raise
        lines.cut_off(error.line + 1)


@contextmanager
def reading_task(paths: Sequence[Path], field: str) -> Iterator[Callable[[int], None]]:
    """Report how much of the files is read; the function given takes bytes."""
    sizes = [path.stat().st_size for path in paths]
    with progress.task(f"reading {field} (MB)", sum(sizes) // MEGABYTE) as task:
        pending = 0

        def advance(count: int) -> None:
            nonlocal pending
            pending += count
            if pending >= MEGABYTE:
                task.advance(pending // MEGABYTE)
                pending %= MEGABYTE

        yield advance


def check_share(field: str, max_bad_share: float, reading: Reading) -> None:
    """Stop where too many of the lines read so far are bad.

    Raises:
        UserError: they are.
    """
    bad = len(reading.quarantine)
    if bad <= max_bad_share * reading.lines:
        return
    first = reading.quarantine[0]
    raise UserError(
        f"{field}: {bad:,} of {reading.lines:,} lines cannot be used, more than "
        f"ingest.max_bad_share = {max_bad_share:g}; the first is {first.file}, line {first.line}: "
        f"{first.reason}; mend the dump, or raise ingest.max_bad_share"
    )


def json_object(line: bytes) -> dict[str, Any]:
    """The object of a JSON line.

    Raises:
        RejectedError: it is something else.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RejectedError("not JSON") from error
    return _object(value)


def literal_object(line: bytes) -> dict[str, Any]:
    """The dict of a Python literal, as the metadata of 2014 are written. Nothing is executed.

    Raises:
        RejectedError: it is something else.
    """
    if len(line) > MAX_LITERAL:
        raise RejectedError(f"Python literal longer than {MAX_LITERAL:,} bytes")
    try:
        return _object(literal(line.decode().strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        # `literal` raises each of these for some malformed line.
        raise RejectedError("not a Python literal") from error


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RejectedError("not an object")
    return value


def identifier(value: object, name: str) -> str:
    """A raw user or item id as it is: any printable, non-empty string. It is no path, ever.

    Raises:
        RejectedError: it is none.
    """
    if value is None or value == "":
        raise RejectedError(f"no {name}")
    if not isinstance(value, str):
        raise RejectedError(f"{name} is not a string")
    if len(value) > MAX_ID:
        raise RejectedError(f"{name} longer than {MAX_ID} characters")
    if not value.isprintable() or value.isspace():
        raise RejectedError(f"{name} is not printable")
    return value


def describe(line: bytes) -> str:
    """What a line that is no record seems to be, in a few words."""
    text = line.decode("utf-8", "replace").strip()
    for load in (json_object, literal_object):
        try:
            keys = [str(key)[:40] for key in list(load(line))[:8]]
        except RejectedError:
            continue
        return f"objects with the fields {', '.join(map(repr, keys)) or '(none)'}"
    if "\0" in text or "\ufffd" in text:
        return "binary data"
    if text.startswith("<"):
        return f"HTML or XML ({text[:40]!r})"
    if text.startswith("["):
        return "a JSON array; write one object per line"
    if not text.startswith("{") and ("," in text or "\t" in text):
        return f"a table or plain text ({text[:40]!r})"
    return f"a line that starts with {text[:40]!r}"
