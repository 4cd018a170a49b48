"""Runs of the embedding stages in other processes, killed or not, and what they wrote."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

from brmrs.features import embeddings
from brmrs.features.embeddings import Shards


def other_process(module: str, function: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Call a function of a test module on a folder in another process.

    Returns when the processes that it started have ended, too, as they hold its output.
    """
    code = f"import sys, pathlib, {module}; {module}.{function}(pathlib.Path(sys.argv[1]))"
    search = os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )


def die_after_three_shards(rows: int) -> None:
    """SIGKILL for this process when it has kept three shards of so many rows and has a fourth."""
    embeddings.SHARD = rows
    write, written = Shards.write, itertools.count(1)

    def last(shards: Shards, contents: list[str], part: embeddings.Columns) -> str:
        if next(written) > 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(shards, contents, part)

    Shards.write = last  # type: ignore[method-assign, assignment]


def same_tables(one: Path, other: Path) -> None:
    """Two runs wrote the same bytes."""
    for name in ("features.parquet", "meta.json"):
        assert (one / "out" / name).read_bytes() == (other / "out" / name).read_bytes()
