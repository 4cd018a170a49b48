"""Which Prefect server `brmrs run` uses, and what it reports where none can be used."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_recognise import prefect, program

from brmrs.config.pipeline import PipelineConfig

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
RUN = ["-c", "from flows.cli.app import main; main()", "run", "-c", "small.yaml"]


@pytest.fixture
def project(tmp_path: Path, small_config: PipelineConfig) -> Path:
    (tmp_path / "small.yaml").write_text(small_config.to_yaml())
    return tmp_path


def configure(project: Path, url: str) -> None:
    """The project's prefect.toml, with a server at another address."""
    text = (ROOT / "prefect.toml").read_text()
    (project / "prefect.toml").write_text(text.replace("http://127.0.0.1:4200/api", url))


def run(
    project: Path, limit: Callable[[], None] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, *RUN, "--until", "split"],
        cwd=project,
        env={**clean, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        preexec_fn=limit,
    )


@pytest.mark.parametrize(
    ("answer", "reported"),
    [
        (lambda path, given: (200, "<html>welcome</html>"), "another program answers at "),
        (lambda path, given: prefect(path, None), "a Prefect server with another secret answers"),
    ],
    ids=["a program that answers 200", "the server of another folder"],
)
def test_a_program_on_the_project_s_port_is_not_used(
    project: Path, answer: Callable[[str, str | None], tuple[int, str]], reported: str
) -> None:
    with program(answer) as (url, _):
        configure(project, url)
        done = run(project)
    assert done.returncode == 0, done.stderr
    assert f"{reported}" in done.stderr
    assert "this run starts a separate Prefect server" in done.stderr
    assert (project / ".prefect" / "prefect.db").is_file()
    assert not (project / ".prefect" / "profiles.toml").exists()  # its secret ended with it


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_a_named_address_must_be_a_server_that_admits_us(project: Path) -> None:
    with program(lambda path, given: (200, "true")) as (url, _):
        line = one_line(run(project, PREFECT_API_URL=url))
    assert "PREFECT_API_URL: another program answers at http://127.0.0.1" in line
    with program(lambda path, given: prefect(path, None)) as (url, _):
        line = one_line(run(project, PREFECT_API_URL=url))
    assert "set PREFECT_API_AUTH_STRING to its secret" in line
    line = one_line(run(project, PREFECT_API_URL="http://127.0.0.1:1/api"))
    assert "nobody answers" in line


def test_prefect_s_folder_that_cannot_be_used_is_one_line(project: Path) -> None:
    configure(project, "http://127.0.0.1:1/api")
    (project / ".prefect").write_text("")
    assert ".prefect/profiles.toml: Not a directory; " in one_line(run(project))
    (project / ".prefect").unlink()

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    assert ".prefect: File too large; " in one_line(run(project, small_files))


@pytest.mark.parametrize("text", ["home = [", 'api = "x"\nhome = 3', "[server\n"])
def test_a_damaged_prefect_toml_is_one_line(project: Path, text: str) -> None:
    (project / "prefect.toml").write_text(text)
    assert "prefect.toml" in one_line(run(project))
