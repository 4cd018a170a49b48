"""The tour of README.md: its commands run, in order, and print what it shows.

Blocks marked `bash` show commands that other tests run, because they serve until they are stopped
or need data of the user's own; here their commands and options must exist.

A shown line counts as printed if some line of the output starts with the same words. A word with
a digit in it (a number, a time, an id) stands for any such word; `…` for the rest of a line.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BOX = str.maketrans(dict.fromkeys("│┃┏┓┗┛┡┩├┤┌┐└┘━─┳╇┻┬┴┼╭╮╰╯", " "))
MAKE = {"make run", "make test"}  # what CI runs


def blocks(kind: str) -> list[str]:
    return [body for found, body in BLOCK.findall(README) if found == kind]


def tour() -> list[tuple[str, list[str]]]:
    """Each command of the blocks marked `console`, and the lines shown below it."""
    steps: list[tuple[str, list[str]]] = []
    for line in "".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            steps.append((line.removeprefix("$ "), []))
        elif line.strip():
            steps[-1][1].append(line)
    return steps


def words(line: str) -> list[str]:
    return ["#" if re.search(r"\d", word) else word for word in line.translate(BOX).split()]


def not_printed(shown: list[str], output: str) -> list[str]:
    """The shown lines that no line of the output starts with."""
    printed = [words(line) for line in output.splitlines()]
    missing = []
    for line in shown:
        wanted = words(line.partition("…")[0])
        if not any(wanted == found[: len(wanted)] for found in printed):
            missing.append(line)
    return missing


def test_every_block_is_executed() -> None:
    assert {kind for kind, _ in BLOCK.findall(README)} <= {"", "console", "bash"}
    plain = {line.partition("#")[0].strip() for body in blocks("") for line in body.splitlines()}
    assert plain - {""} <= MAKE
    assert len(tour()) >= 6


def test_commands_of_bash_blocks_exist() -> None:
    lines = [
        line.partition("#")[0].split() for body in blocks("bash") for line in body.splitlines()
    ]
    for program, command, *given in filter(None, lines):
        assert program == "brmrs"
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, command
        options = {word for word in given if word.startswith("-")}
        assert options <= set(re.findall(r"--?[\w-]+", shown.output)), command


def test_shown_lines_are_compared() -> None:
    output = "│ recall │ 0.51 │\nrun 2026-1 on sample\n"
    assert not_printed(["recall 0.49", "│ run 2025-7 …"], output) == []
    assert not_printed(["precision 0.49", "recall much"], output) == [
        "precision 0.49",
        "recall much",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_tour_prints_what_it_shows(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    command = tmp_path / "bin" / "brmrs"
    command.parent.mkdir()
    start = "from flows.cli.app import main; main()"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    command.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "COLUMNS"},
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(tmp_path / ".prefect"),
    }
    shown: list[str] = []
    made = ("brmrs sample data/sample && brmrs run -c configs/sample.yaml", shown)  # `make run`
    for step, shown in [made, *tour()]:
        done = subprocess.run(
            ["sh", "-ec", step],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
        assert not_printed(shown, done.stdout) == [], f"{step}\n{done.stdout}"
