"""Read untrusted files of a store: regular files only; plain JSON, validated against a schema.

A store may have been copied from anywhere, so no file in it is trusted. Records, manifests of runs,
`current.json`, metrics and the descriptions of models are read with `read`. It parses plain JSON,
limits its size, depth and numbers, and validates it with pydantic.
"""

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import from_json

from brmrs.system.files import open_regular

MOST_BYTES = 2**27  # of one file; a record of a million pictures has about as many
DEEPEST = 32  # containers within each other
LARGEST = 2**63  # absolute value of an integer

T = TypeVar("T")


def _relative(name: str) -> str:
    """A path below a folder, in POSIX form."""
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError("expected a relative path without `.` and `..`")
    return name


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def _name(text: str) -> str:
    """A name that is one component of a path on every system, and no option of a command."""
    if len(text) > 200 or not _NAME.fullmatch(text):
        raise ValueError("expected letters, digits, `_`, `.` and `-`")
    return text


Name = Annotated[str, AfterValidator(_name)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
RelativePath = Annotated[str, AfterValidator(_relative)]


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has more than `most` bytes, or is no regular file.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def parse(path: Path) -> Any:
    """The JSON values of a file, within the limits above.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON, beyond a limit, or no regular file.
    """
    return parse_bytes(read_bytes(path, MOST_BYTES))


def parse_bytes(data: bytes) -> Any:
    """The JSON values of at most `MOST_BYTES` bytes, within the limits above.

    Raises:
        ValueError: they are no JSON, or beyond a limit.
    """
    values = from_json(data, allow_inf_nan=False)
    _bounded(values, DEEPEST)
    return values


def read(path: Path, schema: TypeAdapter[T]) -> T:
    """The content of a file, checked against a schema.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON, beyond a limit, or not of that schema; the message is one line.
    """
    return _checked(parse(path), schema)


def read_json(data: bytes, schema: TypeAdapter[T]) -> T:
    """Bytes as JSON, checked against a schema.

    Raises:
        ValueError: as for `read`.
    """
    return _checked(parse_bytes(data), schema)


def _checked(values: object, schema: TypeAdapter[T]) -> T:
    try:
        return schema.validate_python(values)
    except ValidationError as error:
        raise ValueError(one_line(error)) from error


def one_line(error: ValidationError) -> str:
    """The first fault of a validation: where it is, and what is wrong."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, fault["loc"]))[:200] or "content"
    return " ".join(f"{where}: {fault['msg']}".split())  # a name in the file may have several lines


def _bounded(value: object, depth: int) -> None:
    if isinstance(value, dict | list):
        if not depth:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        for each in value.values() if isinstance(value, dict) else value:
            _bounded(each, depth - 1)
    elif isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError("it holds an integer of more than 64 bits")
