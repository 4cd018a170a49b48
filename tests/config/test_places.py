"""Paths in a file are relative to that file; all others to the working directory."""

import os
from pathlib import Path

import pytest

from brmrs.config.load import load

TEXT = """
ingest: {reviews: [a.gz, ../b.gz, /c.gz, ~/d.gz], metadata: m.gz}
images: {folder: ./pictures}
features:
  text: {model: [./mine, all-MiniLM-L6-v2, sentence-transformers/other, models/here]}
  visual: {weights_path: w.pth}
train: {warm_start: ../bundle}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in the folder `in` of the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "models" / "here").mkdir(parents=True)
    path = Path("in/c.yaml")
    path.write_text(TEXT)
    return path


def test_paths_in_a_file_are_relative_to_it(file: Path) -> None:
    config = load(file)
    home = Path.home()
    assert config.ingest.reviews == (Path("in/a.gz"), Path("b.gz"), Path("/c.gz"), home / "d.gz")
    assert config.ingest.metadata == (Path("in/m.gz"),)
    assert config.images.folder == Path("in/pictures")
    assert config.features.visual.weights_path == Path("in/w.pth")
    assert config.train.warm_start == Path("bundle")


def test_a_text_model_is_a_name_or_a_path(file: Path) -> None:
    assert load(file).features.text.model == (
        "in/mine",
        "all-MiniLM-L6-v2",
        "sentence-transformers/other",
        "in/models/here",
    )


def test_each_file_has_its_own_folder(file: Path) -> None:
    Path("over").mkdir()
    Path("over/d.yaml").write_text("images: {folder: other}")
    config = load(file, over=(Path("over/d.yaml"),))
    assert config.images.folder == Path("over/other")
    assert config.ingest.metadata == (Path("in/m.gz"),)


def test_overrides_and_parameters_are_relative_to_the_working_directory(file: Path) -> None:
    assert load(file, ("images.folder=x",)).images.folder == Path("x")
    assert load(file, ("images.folder=~/x",)).images.folder == Path.home() / "x"
    assert load(file, sections={"images": {"folder": "x"}}).images.folder == Path("x")


@pytest.mark.parametrize("name", ["a: b.gz", "{a}.gz", "@a", "2024", "*", "#", "a b"])
def test_a_path_on_the_command_line_needs_no_quotes(file: Path, name: str) -> None:
    assert load(file, (f"ingest.reviews={name}",)).ingest.reviews == (Path(name),)
    assert load(file, (f"images.folder={name}",)).images.folder == Path(name)


def test_a_path_can_be_unset_and_a_list_given(file: Path) -> None:
    assert load(file, ("images.folder=null",)).images.folder is None
    assert load(file, ("ingest.reviews=[x, y]",)).ingest.reviews == (Path("x"), Path("y"))


def test_absolute_places_do_not_depend_on_the_folder(file: Path) -> None:
    elsewhere = load(file.resolve())
    assert elsewhere.images.folder == Path(os.getcwd()) / "in" / "pictures"
