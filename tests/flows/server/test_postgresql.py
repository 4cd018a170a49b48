"""Several workers on one PostgreSQL server, as docs/deployments.md says."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_up import Up, copy_project

from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import STAGES

SERVER_USER = "postgres"  # of Debian's package; PostgreSQL refuses to run as root
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def binaries() -> Path:
    """Debian keeps the server's programs, by version, off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("no PostgreSQL server is installed (Debian: postgresql)")
    return found[-1].parent if found else Path(str(on_path)).parent


@pytest.fixture
def database() -> Iterator[str]:
    """The address of an empty database on a server of its own."""
    programs = binaries()
    place = Path(tempfile.mkdtemp(prefix="postgresql-"))  # pytest's own are closed to other users
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", SERVER_USER, "--"]
        shutil.chown(place, SERVER_USER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def control(*arguments: str) -> None:
        subprocess.run(
            [*as_user, *arguments],
            cwd=place,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    data = str(place / "data")
    control(str(programs / "initdb"), "-D", data, "-U", "brmrs", "--auth=trust")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {place}"
    start = ["-D", data, "-o", options, "-l", str(place / "log"), "-w", "start"]
    control(str(programs / "pg_ctl"), *start)
    try:
        control(
            str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "brmrs", "prefect"
        )
        yield f"postgresql+asyncpg://brmrs@127.0.0.1:{port}/prefect"
    finally:
        control(str(programs / "pg_ctl"), "-D", data, "-m", "fast", "-w", "stop")
        shutil.rmtree(place)


def test_two_workers_share_the_runs(
    database: str, tmp_path: Path, small_config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", database)
    copy_project(tmp_path, small_config)
    up = Up(tmp_path)
    second = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "brmrs", "--name", "second"],
        cwd=tmp_path,
        env=up.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with ThreadPoolExecutor(2) as pool:
            both = pool.map(up.deploy_run, ["config=small.yaml", "config=small.yaml"])
            assert [done.returncode for done in both] == [0, 0]
        names = {stage.name for stage in STAGES}
        states = [[run[name] for run in up.task_states()] for name in names]
        assert [sorted(pair) for pair in states] == [["Cached", "Completed"]] * len(names)
        assert not list((tmp_path / ".prefect").glob("*.db"))  # nothing went to SQLite
    finally:
        second.terminate()
        second.wait(60)
        up.end()
