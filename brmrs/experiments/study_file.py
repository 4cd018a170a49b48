"""The SQLite file with the studies of a store, which is untrusted (see `brmrs.system.untrusted`).

SQLite calls no code of a database, but it trusts the rollback journal beside it: a journal may name
a second file, and SQLite removes that file, wherever it is. Such a journal is refused.
"""

import os
import sqlite3
from pathlib import Path

import optuna
from optuna.exceptions import OptunaError
from optuna.pruners import BasePruner
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from brmrs.errors import UserError, first_line, os_fault
from brmrs.system.files import NotRegularError, open_regular

HEADER = b"SQLite format 3\0"
NAMES_A_FILE = bytes.fromhex("d9d505f920a163d7")  # at the end of a journal that does
COMPANIONS = ("-journal", "-wal", "-shm")
# Of Optuna, and of its JSON and its conversions.
FAULTS = (OptunaError, SQLAlchemyError, sqlite3.Error, RuntimeError, ValueError, LookupError)
# SQLite's advice for databases that somebody else may have written.
CAUTION = ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")


def open_study(file: Path, name: str, pruner: BasePruner) -> optuna.Study:
    """The study of that name; creates the file and the study if they are missing.

    Raises:
        UserError: the file, or one that SQLite keeps beside it, is not one that a search wrote.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    for path in (file, *(file.with_name(file.name + end) for end in COMPANIONS)):
        _refuse_odd(path, HEADER if path == file else b"")
    try:
        study = optuna.create_study(
            study_name=name,
            # Connected by a function: in an address, "?", "#" and "%" of a path have a meaning.
            storage=RDBStorage(
                "sqlite://",
                engine_kwargs={"creator": lambda: _connect(file), "poolclass": NullPool},
            ),
            direction="maximize",
            load_if_exists=True,
            pruner=pruner,
        )
        study.get_trials(deepcopy=False)  # reads all of the study
    except FAULTS as error:
        raise os_fault(error) or UserError(
            f"{file}: not a file that a search wrote ({first_line(error)}); remove it"
        ) from error
    return study


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    for each in CAUTION:
        connection.execute(f"PRAGMA {each}")
    return connection


def _refuse_odd(path: Path, header: bytes) -> None:
    """Raise a UserError if SQLite should not open a file.

    Args:
        path: the file; a missing or empty one is not refused.
        header: its first bytes.
    """
    if not os.path.lexists(path):
        return
    try:
        if path.is_symlink():
            raise NotRegularError(path)
        with open_regular(path) as file:
            start = file.read(len(header))
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(NAMES_A_FILE)))
            end = file.read(len(NAMES_A_FILE))
    except NotRegularError as error:
        raise UserError(f"{path}: it is no regular file; remove it") from error
    if (start and start != header) or end == NAMES_A_FILE:
        raise UserError(f"{path}: not a file that a search wrote; remove it")
