"""Records of a dump: a line is parsed or quarantined with a reason, what is no dump is refused."""

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import orjson

from brmrs import progress
from brmrs.errors import UserError
from brmrs.ingest.lines import MAX_LINE, read_lines

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
    """

    field: str
    expected: str
    parse: Callable[[bytes], Record]


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

    def reasons(self) -> dict[str, int]:
        """The number of bad lines by reason."""
        return dict(Counter(bad.reason for bad in self.quarantine))


def read(
    paths: Sequence[Path], kind: Kind[Record], max_bad_share: float, reading: Reading
) -> Iterator[Record]:
    """Stream the records of all files; bad lines go to `reading`, blank ones are skipped.

    Args:
        paths: the files.
        kind: what they are read as.
        max_bad_share: of all their lines that may be bad.
        reading: counts, filled on the way.

    Raises:
        UserError: a file cannot be read or holds something else, or too many lines are bad.
    """
    sizes = [path.stat().st_size for path in paths]
    with progress.task(f"reading {kind.field} (MB)", sum(sizes) // MEGABYTE) as task:
        pending = 0

        def advance(count: int) -> None:
            nonlocal pending
            pending += count
            if pending >= MEGABYTE:
                task.advance(pending // MEGABYTE)
                pending %= MEGABYTE

        for path in paths:
            reading.files += 1
            yield from _records(path, kind, max_bad_share, reading, advance)
    _check_share(kind, max_bad_share, reading)


def _records(
    path: Path,
    kind: Kind[Record],
    max_bad_share: float,
    reading: Reading,
    advance: Callable[[int], None],
) -> Iterator[Record]:
    first = b""
    tried = good = 0
    for number, line in read_lines(path, advance):
        if not line or line.isspace():
            continue
        reading.lines += 1
        tried += 1
        try:
            if len(line) > MAX_LINE:
                raise RejectedError(f"longer than {MAX_LINE:,} bytes")
            record = kind.parse(line)
        except RejectedError as error:
            first = first or line
            content = line[: 4 * CONTENT_KEPT].decode("utf-8", "replace")[:CONTENT_KEPT]
            reading.quarantine.append(BadLine(path.name, number, str(error), content))
            if len(reading.quarantine) > BAD_LINES_BEFORE_GIVING_UP:
                _check_share(kind, max_bad_share, reading)
        else:
            good += 1
            yield record
        if tried == LINES_TRIED and not good:
            break
    if not tried:
        raise UserError(f"{path}: the file is empty; remove it from {kind.field}")
    if not good:
        raise UserError(
            f"{path}: not a dump that {kind.field} can read: expected {kind.expected}, "
            f"found {describe(first)}"
        )


def _check_share(kind: Kind[Any], max_bad_share: float, reading: Reading) -> None:
    bad = len(reading.quarantine)
    if bad <= max_bad_share * reading.lines:
        return
    first = reading.quarantine[0]
    raise UserError(
        f"{kind.field}: {bad:,} of {reading.lines:,} lines cannot be used, more than "
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
        return _object(ast.literal_eval(line.decode().strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        # literal_eval raises each of these for some malformed line.
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
