"""The command `brmrs` in a process of its own."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from flows.cli.app import main; main()"]


def environment(project: Path) -> dict[str, str]:
    """The environment for a command in a folder."""
    home = project.parent / "prefect-home"  # one for all tests: a fresh database costs seconds
    return {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(home), "COLUMNS": "200"}
