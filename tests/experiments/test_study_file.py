"""The file of the studies in a store that somebody else may have written."""

import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.pruners import NopPruner

from brmrs.errors import UserError
from brmrs.experiments.study_file import open_study


def study(file: Path) -> optuna.Study:
    return open_study(file, "board", NopPruner())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with one finished trial."""
    made = study(tmp_path / "tune" / "studies.db")
    made.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    return tmp_path / "tune" / "studies.db"


def test_a_study_is_found_again(file: Path) -> None:
    assert [trial.state.name for trial in study(file).trials] == ["COMPLETE"]


def with_journal(file: Path, victim: Path) -> None:
    """A journal of no pages that names another file; SQLite removes that one after the roll-back.

    The format: https://www.sqlite.org/fileformat2.html#rollbackjournal.
    """
    magic, page = bytes.fromhex("d9d505f920a163d7"), 4096
    pages = file.stat().st_size // page
    header = (magic + struct.pack(">5I", 0, 1, pages, 512, page)).ljust(512, b"\0")
    name = os.fsencode(victim)
    named = struct.pack(">I", 2**30 // page + 1) + name + struct.pack(">2I", len(name), sum(name))
    file.with_name(f"{file.name}-journal").write_bytes(header + named + magic)


def test_no_file_that_a_journal_names_is_removed(file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with_journal(file, victim)
    with pytest.raises(UserError, match=r"studies\.db-journal: not a file that a search wrote"):
        study(file)
    assert victim.read_text() == "precious"
    sqlite3.connect(file).execute("SELECT * FROM studies")  # as it was: the file is gone
    assert not victim.exists()


def test_the_journal_of_a_killed_search_is_rolled_back(file: Path) -> None:
    pid = os.fork()
    if not pid:
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("DELETE FROM trials")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("CREATE TABLE more AS SELECT randomblob(100000)")  # forces it to disk
        os._exit(0)
    os.waitpid(pid, 0)
    assert file.with_name(f"{file.name}-journal").stat().st_size
    assert len(study(file).trials) == 1


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("mine.db")


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [pipe, link, folder])
@pytest.mark.parametrize("name", ["studies.db", "studies.db-journal", "studies.db-wal"])
def test_only_regular_files_are_opened(file: Path, name: str, make: Callable[[Path], None]) -> None:
    make(file.with_name(name))
    with pytest.raises(UserError, match=rf"{name}: it is no regular file; remove it"):
        study(file)
    assert not file.with_name("mine.db").exists()


def text(file: Path) -> None:
    file.write_text("not a database, but a text of more than a hundred bytes" * 9)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def other_tables(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE studies (odd INTEGER)")
    connection.commit()


def odd_values(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("UPDATE trial_params SET distribution_json = '[}'")
    connection.commit()


def other_version(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("UPDATE version_info SET schema_version = 99")
    connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0'")
    connection.commit()


@pytest.mark.parametrize("damage", [text, cut, other_tables, odd_values, other_version])
def test_another_content_is_one_line(file: Path, damage: Callable[[Path], None]) -> None:
    damage(file)
    with pytest.raises(UserError, match=r"studies\.db: not a file that a search wrote") as error:
        study(file)
    assert "\n" not in str(error.value)
