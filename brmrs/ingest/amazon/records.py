"""Records of a dump: each line is parsed, or quarantined with a reason. Other files are refused."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from brmrs.errors import UserError
from brmrs.ingest.amazon.literals import literal
from brmrs.ingest.dataset import BadLine, Reading, check_share
from brmrs.ingest.lines import MAX_LINE, CutOffError, lines_of, read_blocks
from brmrs.system import progress

MAX_LITERAL = 1_000_000  # bytes
MAX_ID = 256  # characters; those of the public dumps have 10 to 28
CONTENT_KEPT = 200  # characters of a bad line in the quarantine
CONTENT_SHOWN = 80  # characters of a bad line in an error
LINES_TRIED = 100  # a file without a good line among its first ones is refused
BAD_LINES_BEFORE_GIVING_UP = 10_000  # bounds the memory that the quarantine of a bad file takes
# A file with more blank lines than this, and with a higher ratio of blank to other lines, is
# refused: a few hundred kB of gzip can hold 500 million line feeds.
BLANK_LINES, BLANK_TO_OTHER = 100_000, 10
MEGABYTE = 1 << 20

Record = TypeVar("Record", covariant=True)


class RejectedError(Exception):
    """The line cannot be used. The message is the reason, one of a few.

    Attributes:
        is_other: the line is no record of this kind at all, rather than one with a bad field.
    """

    def __init__(self, reason: str, is_other: bool = False) -> None:
        super().__init__(reason)
        self.is_other = is_other


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """A kind of lines, and how to parse them.

    Attributes:
        field: the configuration field that names the files.
        expected: the form that a line should have, for errors.
        parse: a line to its record; raises `RejectedError`.
        header: the first line of a file that is not blank names columns.
    """

    field: str
    expected: str
    parse: Callable[[bytes], Record]
    header: bool = False


class Lines(Generic[Record]):
    """Parses the lines of one file into records and quarantined lines.

    Args:
        path: of the file.
        kind: of the file's lines.
        max_bad_share: of all lines that may be bad.
        reading: counts, filled on the way.
    """

    def __init__(
        self, path: Path, kind: Kind[Record], max_bad_share: float, reading: Reading
    ) -> None:
        self.path = path
        self.kind = kind
        self.max_bad_share = max_bad_share
        self.reading = reading
        self.tried = self.good = self.blank = 0
        self._skip_header = kind.header
        # For the error of `end`: the first line with a bad field, else the first bad line.
        self._first_bad: tuple[int, bytes, RejectedError] | None = None
        reading.files += 1

    def records(self, first: int, lines: Iterable[bytes | None]) -> Iterator[Record]:
        """The records of consecutive lines, of which the first has the number `first`.

        None is a continuation of the line before.

        Raises:
            UserError: the file holds something else, or far too many lines are bad or blank.
        """
        for number, line in enumerate(lines, start=first):
            if line is None:
                continue
            if not line or line.isspace():
                self._count_blank()
                continue
            if self._skip_header:
                self._skip_header = False
                continue
            self.reading.lines += 1
            self.tried += 1
            try:
                if len(line) > MAX_LINE:
                    raise RejectedError(f"longer than {MAX_LINE:,} bytes")
                record = self.kind.parse(line)
            except RejectedError as error:
                self._reject(number, line, error)
            else:
                self.good += 1
                yield record

    def count(self, good: int) -> None:
        """Count good lines that were read by other means."""
        self.reading.lines += good
        self.tried += good
        self.good += good

    def cut_off(self, line: int) -> None:
        """Note in the quarantine that the file ends in the middle of a line."""
        self.reading.lines += 1
        self._reject(line, b"", RejectedError("cut off: the file ends in this line"))

    def end(self) -> None:
        """Check that the file held records.

        Raises:
            UserError: it did not.
        """
        if self.good:
            return
        if self._first_bad is None:
            raise UserError(f"{self.path}: the file is empty; remove it from {self.kind.field}")
        number, line, error = self._first_bad
        if error.is_other:
            raise UserError(
                f"{self.path}: not a dump that {self.kind.field} can read: expected "
                f"{self.kind.expected}, found {describe(line)}"
            )
        shown = line[: 4 * CONTENT_SHOWN].decode("utf-8", "replace")[:CONTENT_SHOWN]
        # Of a table with other separators, quotes or times.
        other = "" if line.lstrip().startswith(b"{") else ", or set ingest.format=table"
        raise UserError(
            f"{self.path}: none of the {self.tried:,} lines tried can be used; line {number}: "
            f"{error} ({shown!r}); correct the file{other}"
        )

    def _count_blank(self) -> None:
        self.blank += 1
        if self.blank > BLANK_LINES and self.blank > BLANK_TO_OTHER * self.tried:
            raise UserError(
                f"{self.path}: {self.blank:,} blank lines among {self.tried:,} others; remove "
                f"them, or remove the file from {self.kind.field}"
            )

    def _reject(self, number: int, line: bytes, error: RejectedError) -> None:
        if self._first_bad is None or (self._first_bad[2].is_other and not error.is_other):
            self._first_bad = number, line, error
        content = line[: 4 * CONTENT_KEPT].decode("utf-8", "replace")[:CONTENT_KEPT]
        self.reading.quarantine.append(BadLine(self.path.name, number, str(error), content))
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
    """Stream the records of all files. Bad lines go to `reading`, blank ones are skipped.

    Args:
        paths: the files.
        kind: of the files' lines.
        max_bad_share: of all their lines that may be bad.
        reading: counts, filled on the way.
        allow_truncated: read a compressed file that ends too early up to its last whole line.

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
    """Show progress. Yields a function that takes a number of bytes read."""
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


def json_object(line: bytes) -> dict[str, Any]:
    """The object of a JSON line.

    Raises:
        RejectedError: it is something else.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RejectedError("not JSON", is_other=True) from error
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
        raise RejectedError("not a Python literal", is_other=True) from error


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RejectedError("not an object", is_other=True)
    return value


def identifier(value: object, name: str) -> str:
    """A raw user or item id, unchanged: any printable, non-empty string. Never used as a path.

    Raises:
        RejectedError: it is not.
    """
    if value is None or value == "":
        raise RejectedError(f"no {name}", is_other=value is None)
    if not isinstance(value, str):
        raise RejectedError(f"{name} is not a string")
    if len(value) > MAX_ID:
        raise RejectedError(f"{name} longer than {MAX_ID} characters")
    if not value.isprintable() or value.isspace():
        raise RejectedError(f"{name} is not printable")
    return value


def describe(line: bytes) -> str:
    """A short description of a line that is not a record."""
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
    if not text.startswith("{") and any(separator in text for separator in ",\t;|"):
        return f"a table or plain text ({text[:CONTENT_SHOWN]!r})"
    return f"a line that starts with {text[:40]!r}"
