"""Arrays of fixed-size records in scratch files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

ROW = np.dtype([("user", "<i4"), ("item", "<i4"), ("rating", "<f4"), ("timestamp", "<i8")])
PAIR = np.dtype([("user", "<i4"), ("item", "<i4")])
VALUE = np.dtype([("rating", "<f4"), ("timestamp", "<i8")])
CODE = np.dtype("<i4")


def append(path: Path, records: NDArray[Any]) -> None:
    """Append records to a file.

    Raises:
        OSError: with its number, such as that of a full disk (`ndarray.tofile` loses it).
    """
    with path.open("ab") as file:
        write(file, records)


def write(file: BinaryIO, records: NDArray[Any]) -> None:
    """Write records to an open file; errors as for `append`."""
    if len(records):
        file.write(np.ascontiguousarray(records).data.cast("B"))


def read(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    """All records of a file; none if it does not exist, as nothing was appended."""
    return np.fromfile(path, dtype=kind) if path.exists() else np.empty(0, dtype=kind)


def blocks_of(file: BinaryIO, kind: np.dtype[Any], at_once: int) -> Iterator[NDArray[Any]]:
    """The records of an open file from its start, `at_once` at a time."""
    file.seek(0)
    while data := file.read(at_once * kind.itemsize):
        yield np.frombuffer(data, dtype=kind)
