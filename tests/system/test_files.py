import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brmrs.system.files import (
    NotRegularError,
    digest_file,
    open_appended,
    open_regular,
    replacing,
)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD = [make_pipe, make_socket, link_to_a_device, Path.mkdir]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", ODD)
def test_only_regular_files_are_read(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 letters
    path = Path("odd")
    make(path)
    for read in (open_regular, digest_file, open_appended):
        with pytest.raises(OSError):  # noqa: PT011 - of which kind depends on the file
            read(path)


@pytest.mark.timeout(20)
def test_a_pipe_with_a_writer_is_not_read_either(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(end, b"text")
    for read in (open_regular, digest_file, open_appended):
        with pytest.raises(NotRegularError, match="no regular file"):
            read(path)
    os.close(end)


def test_nothing_is_appended_to_the_target_of_a_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    (tmp_path / "link").symlink_to(mine)
    (tmp_path / "hard").hardlink_to(mine)
    for name in ("link", "hard"):
        with pytest.raises(OSError):  # noqa: PT011
            open_appended(tmp_path / name)
    (tmp_path / "hard").unlink()
    with open_appended(mine) as file:
        file.write(b" thing")
    assert mine.read_text() == "precious thing"


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
