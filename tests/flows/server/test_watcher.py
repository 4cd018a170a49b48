"""Dumps that arrive while `brmrs up` runs: watcher, event, worker, flow, all real."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_up import Up, children, copy_project

from brmrs.config.pipeline import PipelineConfig
from brmrs.serving.current import read
from brmrs.store.artifacts import ArtifactStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def up(tmp_path: Path, small_config: PipelineConfig) -> Iterator[Up]:
    """`brmrs up` with `brmrs/retrain` over an empty folder `monthly`, without pictures."""
    values = small_config.model_dump()
    values["ingest"] |= {"reviews": ("monthly",)}
    values["images"] |= {"folder": None}
    values["retrain"] |= {"at_rest": 1.0}
    copy_project(tmp_path, PipelineConfig.model_validate(values))
    deployments = yaml.safe_load((tmp_path / "prefect.yaml").read_text())
    (retrain,) = [each for each in deployments["deployments"] if each["name"] == "retrain"]
    retrain["parameters"]["config"] = "small.yaml"
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(deployments))
    (tmp_path / "monthly").mkdir()
    running = Up(tmp_path)
    yield running
    running.end()


def ended(up: Up, count: int) -> list[dict[str, Any]]:
    """Wait until so many flow runs have ended; those, oldest first."""
    final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def runs() -> list[dict[str, Any]]:
        found = [run for run in up.flow_runs() if run["state_type"] in final]
        return sorted(found, key=lambda run: str(run["end_time"]))

    up.wait_until(lambda: len(runs()) >= count)
    return runs()


def emit(up: Up, path: str) -> float:
    """Emit the event as the documentation says; the time at which it is out."""
    command = ["event", "emit", "brmrs.dump", "--resource-id", "brmrs.dumps"]
    subprocess.run(
        [sys.executable, "-m", "prefect", *command, "--payload", json.dumps({"path": path})],
        cwd=up.project,
        env=up.environment,
        check=True,
        capture_output=True,
    )
    return time.time()


def test_dumps_that_arrive(
    up: Up, small_sample: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """`--junit-xml` shows how long the two checks took."""
    whole = (small_sample / "reviews.jsonl.gz").read_bytes()
    monthly, store = up.project / "monthly", ArtifactStore(up.project / "artifacts")

    first = monthly / "2026-01.jsonl.gz"
    first.write_bytes(whole[:2000])
    time.sleep(6)  # at rest, and still half
    assert up.flow_runs() == []
    first.write_bytes(whole)
    (run,) = ended(up, 1)
    assert run["state_name"] == "Promoted", run["state"]

    out = emit(up, "monthly/2026-01.jsonl.gz")
    *_, run = ended(up, 2)
    assert run["state_name"] == "NoNewData", run["state"]
    record_testsuite_property("seconds from the event to its end", _seconds(run["end_time"]) - out)

    (watcher,) = [
        pid
        for pid, command in children(up.process.pid).items()
        if "flows.server.watcher" in command
    ]
    os.kill(watcher, signal.SIGKILL)
    up.wait_for("the watcher ended; starting it again")
    *_, run = ended(up, 3)  # a new watcher cannot know what the old one has seen
    assert run["state_name"] == "NoNewData", run["state"]

    dropped = time.time()
    (monthly / "copy.jsonl.gz").write_bytes(whole)
    *_, run = ended(up, 4)
    assert run["state_name"] == "NoNewData", run["state"]
    record_testsuite_property(
        "seconds from the file to its end", _seconds(run["end_time"]) - dropped
    )

    assert len(read(store).history) == 1
    wanted = {"event": {"name": ["brmrs.retrain.promoted"]}}
    assert up.post("events/filter", {"filter": wanted})["total"] == 1
    assert list(read(store).served) == ["small"]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
