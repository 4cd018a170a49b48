"""The command's frame: options of all commands, `brmrs config`, how errors are printed."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import COMMAND, environment
from typer.testing import CliRunner

from brmrs.config.pipeline import PipelineConfig
from flows.cli.app import app, main


def run(*arguments: str, **environment: str) -> str:
    """The output of a command that succeeds."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", **environment})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def quiet() -> Iterator[None]:
    """Undo what `--verbose` sets."""
    logger = logging.getLogger("brmrs")
    level = logger.level
    yield
    logger.setLevel(level)


def fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> str:
    """What stderr shows of a command that ends with a user error."""
    monkeypatch.setattr(sys, "argv", ["brmrs", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    return capsys.readouterr().err


def test_the_version() -> None:
    assert run("--version").startswith("brmrs 0.")


def test_help_names_the_exit_codes_and_completion() -> None:
    text = run("--help")
    assert "0: success; 1: internal error; 2: user error" in text
    assert "--install-completion" in text


def test_the_artifacts_folder_comes_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert "BRMRS_ARTIFACTS" in run("runs", "--help")
    place = str(tmp_path / "elsewhere")
    assert run("current", BRMRS_ARTIFACTS=place) == run("current", "--artifacts", place)


def test_every_field_is_printed_and_fits_80_columns() -> None:
    text = run("config")
    assert max(map(len, text.splitlines())) <= 80
    rows = json.loads(run("config", "--json"))
    paths = {row["path"] for row in rows}
    assert set(PipelineConfig.model_fields) <= paths
    assert {"train.learning_rate", "graphs.beta.text", "features.visual.training.size"} <= paths
    for row in rows:
        assert row["meaning"], row["path"]
        assert row["path"].upper() in text if row["type"] == "section" else row["path"] in text


def test_one_section_one_field_one_model() -> None:
    assert run("config", "graphs.beta.text") == (
        "graphs.beta.text: 0.5   (number >= 0)\n    Weight of the text cosine.\n"
    )
    assert "train.epochs: 1000   (integer > 0)" in run("config", "train")
    assert "model.contrast: 2.0" in run("config", "bm3")
    assert "model.fusion" not in run("config", "bm3")


def test_an_unknown_section_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = fails(capsys, monkeypatch, "config", "trian")
    assert "no section, field or model 'trian'; did you mean train?" in told


def test_the_schema_is_json() -> None:
    assert json.loads(run("config", "--schema"))["properties"]["train"]


def test_verbose_adds_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, quiet: None
) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    plain = fails(capsys, monkeypatch, "plan", "-c", "absent.yaml")
    assert plain == (
        "error: absent.yaml: No such file or directory; pass an existing file with -c\n"
    )
    assert "Traceback" in fails(capsys, monkeypatch, "-v", "plan", "-c", "absent.yaml")


def test_an_error_cannot_command_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.touch()
    for value in ("\x1b[31mred", "\udcff", "a\nb"):
        told = fails(capsys, monkeypatch, "plan", "-c", str(path), "--set", f"train.epochs={value}")
        assert "\x1b" not in told
        assert told.startswith("error: --set train.epochs=")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_shows_question_marks(tmp_path: Path, encoding: str) -> None:
    table = tmp_path / "orders.csv"
    table.write_text("user,item,rating\n\u4e2d,\u00fc,5\n\u0416,\u00fc,4\n", encoding="utf-8")
    done = subprocess.run(
        [*COMMAND, "inspect", str(table)],
        env={**environment(tmp_path), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"????" in done.stdout  # the bars of the ratings


def test_a_removed_current_folder_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os; os.rmdir(os.getcwd()); from flows.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "models"],
        cwd=gone,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current folder was removed; change to another one\n"


@pytest.mark.parametrize("option", ["-c", "--plugin"])
def test_a_file_without_end_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    config = ["-c", "configs/sample.yaml"] if option == "--plugin" else []
    shown = fails(capsys, monkeypatch, "plan", *config, option, "/dev/zero")
    assert "/dev/zero: more than 10,000,000 bytes; name another file" in shown
