"""`brmrs up` in a folder without Prefect's files."""

import os
from pathlib import Path

import pytest

from brmrs.errors import UserError
from flows.server import folder, up

ROOT = Path(__file__).parents[3]


def test_the_files_that_a_folder_lacks_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.toml").write_text("# mine")
    assert folder.write_missing() == ["prefect.yaml"]
    assert (tmp_path / "prefect.yaml").read_bytes() == (ROOT / "prefect.yaml").read_bytes()
    assert (tmp_path / "prefect.toml").read_text() == "# mine"
    assert folder.write_missing() == []


@pytest.mark.timeout(20)
def test_logs_and_lock_are_not_written_through_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder `artifacts` may have been copied from elsewhere."""
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine"
    mine.write_text("precious")
    up.LOGS.mkdir(parents=True)
    for name in ("up.lock", "server.log"):
        (up.LOGS / name).symlink_to(mine)
    os.mkfifo(up.LOGS / "worker.log")
    with pytest.raises(UserError, match=r"up\.lock: .*remove it"), up._only_one(1):
        pass
    with pytest.raises(UserError, match=r"server\.log: .*remove it"):
        up.Service("server", ["true"], {}).start()
    with pytest.raises(UserError, match=r"worker\.log: it is no regular file; remove it"):
        up.Service("worker", ["true"], {}).start()
    assert mine.read_text() == "precious"
