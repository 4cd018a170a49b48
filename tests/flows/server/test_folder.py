"""`brmrs up` in a folder without Prefect's files."""

from pathlib import Path

import pytest

from flows.server import folder

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
