"""Reading and writing the files of an artifact, with the same bytes on every run."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def digest_file(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_bytes(data: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file so that readers see the old one or all of the new one, never a part.

    Yields:
        A path beside `path` that no other call uses. What is written there replaces `path` at the
        end of the block, and is removed if the block fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:16]}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, atomically: readers see the old file or the new, never a part.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def digest_json(value: object) -> str:
    """Hex SHA-256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_parquet(path: Path, schema: pa.Schema, columns: Mapping[str, object]) -> None:
    """Write columns (arrays or sequences, by name) as Parquet, in the order of the schema."""
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    pq.write_table(pa.table(arrays, schema=schema), path)
