"""`brmrs sample` with its options."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app


def test_the_strengths_are_options(tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    options = ["--users", "40", "--items", "30", "--synergy", "2", "--text-unique", "0"]
    done = CliRunner().invoke(app, ["sample", str(folder), *options])
    assert done.exit_code == 0, done.output
    strengths = json.loads((folder / "truth" / "parameters.json").read_text())["strengths"]
    assert strengths == {
        "text_unique": 0,
        "visual_unique": 1,
        "additive": 1,
        "synergy": 2,
        "redundant": 1,
    }


@pytest.mark.parametrize(
    "options",
    [
        ["--synergy", "-1"],
        ["--synergy", "nan"],
        ["--seed", "-1"],
        ["--items", "1"],
        ["--users", "x"],
    ],
)
def test_an_impossible_value_is_refused(tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(app, ["sample", str(tmp_path / "dump"), *options])
    assert done.exit_code == 2
    assert options[0] in done.output
    assert not (tmp_path / "dump").exists()
