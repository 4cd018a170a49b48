"""The configurations that come with the package."""

from pathlib import Path

import pytest

from brmrs.config.load import load
from brmrs.config.shipped import find, shipped_configs


def test_a_shipped_file_is_found_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path("configs/models/ease.yaml")
    assert find(name) == shipped_configs() / "models" / "ease.yaml"
    assert load(Path("configs/sample.yaml"), over=(name,)).model.name == "ease"


def test_a_file_of_that_name_in_the_folder_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "sample.yaml").write_text("name: mine")
    assert load(Path("configs/sample.yaml")).name == "mine"


@pytest.mark.parametrize(
    "name",
    ["sample.yaml", "configs/nope.yaml", "configs/../pyproject.toml", "configs", "/configs/x.yaml"],
)
def test_nothing_else_is_taken_for_a_shipped_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(Path(name)) == Path(name)
