from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brmrs.system.files import replacing


def test_many_threads_replace_one_file(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with replacing(tmp_path / "folder" / "file") as part:
            part.write_text(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert int((tmp_path / "folder" / "file").read_text()) in range(200)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "file") as part:
        part.write_text("ne")
        raise OSError("full")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
