"""Read the Parquet tables of a store, which is untrusted (see `brmrs.system.untrusted`)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.columns import per_user
from brmrs.errors import UserError, first_line, os_fault
from brmrs.system.files import open_regular


def read_table(
    path: Path, schema: pa.Schema, names: Sequence[str] | None = None, filters: Any = None
) -> pa.Table:
    """Columns of a table.

    Args:
        path: the Parquet file.
        schema: the columns that it needs, with their types; it may have more.
        names: of the columns to read; None: those of the schema.
        filters: see `pyarrow.parquet.read_table`.

    Raises:
        UserError: the file is missing or damaged, or a column is missing, of another type, or has
            missing values where the schema allows none, or texts that are not UTF-8.
    """
    wanted = _wanted(schema, names)
    with _refused(path), open_regular(path) as file:
        _check(pq.read_schema(file), wanted)
        file.seek(0)
        table = pq.read_table(file, columns=wanted.names, filters=filters)
        _check_values(table, wanted)
    return table


def read_per_user(path: Path, filters: Any) -> pa.Table:
    """`per_user.parquet` of the stage evaluate, with all metrics that it has.

    Args:
        path: the Parquet file.
        filters: see `pyarrow.parquet.read_table`.

    Raises:
        UserError: see `read_table`.
    """
    about = per_user(())
    with open_table(path, about) as file:
        metrics = [each for each in file.schema_arrow if each.type == pa.float64()]
    return read_table(path, pa.schema([*about, *metrics]), filters=filters)


def rows(path: Path, schema: pa.Schema, *names: str) -> Iterator[tuple[Any, ...]]:
    """Rows of a table as Python values, read as they are asked for.

    Raises:
        UserError: see `read_table`.
    """
    for batch in batches(path, schema, *names):
        yield from zip(*(batch[name].to_pylist() for name in names), strict=True)


def batches(path: Path, schema: pa.Schema, *names: str) -> Iterator[pa.RecordBatch]:
    """Columns of a table in batches, read as they are asked for.

    Raises:
        UserError: see `read_table`.
    """
    wanted = _wanted(schema, names)
    with open_table(path, wanted) as file:
        found = file.iter_batches(columns=list(names))
        while (batch := _next(path, found, wanted)) is not None:
            yield batch


@contextmanager
def open_table(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """An open table whose columns have the types of the schema.

    Raises:
        UserError: see `read_table`.
    """
    with _refused(path):
        opened = open_regular(path)
    with opened:
        with _refused(path):
            file = pq.ParquetFile(opened)
            _check(file.schema_arrow, schema)
        yield file


def _next(path: Path, found: Iterator[pa.RecordBatch], wanted: pa.Schema) -> Any:
    with _refused(path):
        batch = next(found, None)
        if batch is not None:
            _check_values(batch, wanted)
        return batch


def _wanted(schema: pa.Schema, names: Sequence[str] | None) -> pa.Schema:
    return schema if names is None else pa.schema([schema.field(name) for name in names])


def _check(found: pa.Schema, wanted: pa.Schema) -> None:
    for field in wanted:
        if found.names.count(field.name) != 1:
            raise ValueError(f"column {field.name} is missing or there twice")
        if found.field(field.name).type != field.type:
            raise ValueError(f"column {field.name} is of {found.field(field.name).type}")


def _check_values(table: pa.Table | pa.RecordBatch, wanted: pa.Schema) -> None:
    for field in wanted:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name} has missing values")
        if not pa.types.is_primitive(field.type):  # Parquet's reader does not check UTF-8
            table[field.name].validate(full=True)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn the errors of a missing or damaged table into one line."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise os_fault(error) or UserError(
            f"{path}: no table of a run ({first_line(error)}); run the pipeline again"
        ) from error
