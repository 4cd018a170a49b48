"""One training by processes on the machines of a Ray cluster: as by processes of this machine."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import by_columns
import pytest
from board_artifacts import config, content, context, write_inputs
from ray_nodes import ray_nodes

from brmrs.config.load import parse
from brmrs.config.machines import ExecutionConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.training import on_cluster, stage
from brmrs.training.packed import TensorFile

pytestmark = pytest.mark.usefixtures("one_thread")


def processes() -> Any:
    """The module psutil, which ray brings along."""
    pytest.importorskip("ray")
    return pytest.importorskip("psutil")


def settings(model: str, execution: ExecutionConfig, **train: Any) -> PipelineConfig:
    values = config(model, processes=2, **train).model_dump(mode="json")
    return parse({**values, "execution": execution.model_dump(mode="json")}, "the test")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with ray_nodes(3) as found:
        # Actors cannot import the helpers.
        pytest.importorskip("ray").cloudpickle.register_pickle_by_value(by_columns)
        yield found


@pytest.fixture
def execution(nodes: Any) -> ExecutionConfig:
    return ExecutionConfig(engine="ray", address=nodes.address)


def test_the_meeting_listens_on_one_address() -> None:
    store = on_cluster._meeting("127.0.0.1")
    listening = [
        each.laddr.ip
        for each in processes().Process().net_connections("inet")
        if each.status == "LISTEN" and each.laddr.port == store.port
    ]
    assert listening == ["127.0.0.1"]


def test_the_interface_of_an_address() -> None:
    processes()
    assert on_cluster._interface("127.0.0.1") == "lo"
    with pytest.raises(UserError, match=r"no network interface .* has the address 192\.0\.2\.1"):
        on_cluster._interface("192.0.2.1")


def test_cuda_without_gpus_for_the_actors(tmp_path: Path) -> None:
    cuda = settings("lightgcn", ExecutionConfig(engine="ray"), device="cuda")
    with pytest.raises(UserError, match=r"actors have no GPUs; set execution\.gpus=1"):
        stage._learn_together(
            cuda, TensorFile.write(tmp_path / "x", 0), tmp_path, stage._pool(cuda)
        )


@pytest.mark.slow
def test_a_cluster_that_is_too_small(tmp_path: Path, execution: ExecutionConfig) -> None:
    four = settings("lightgcn", execution, epochs=1)
    train = four.train.model_copy(update={"processes": 4})
    with pytest.raises(
        UserError, match="processes is 4, and the cluster's 3 machines have room for 3 processes"
    ):
        stage.run(
            context(
                write_inputs(tmp_path / "inputs"),
                tmp_path,
                four.model_copy(update={"train": train}),
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lightgcn", "br-mrs"])
def test_the_bundle_has_the_same_bytes(
    model: str, tmp_path: Path, execution: ExecutionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "brmrs")
    inputs = write_inputs(tmp_path / "inputs")
    made = {}
    for name, where in (("local", ExecutionConfig()), ("ray", execution)):
        caplog.clear()
        ready = context(inputs, tmp_path / name, settings(model, where, epochs=4))
        stage.run(ready)
        made[name] = content(ready.out)
        assert ready.notes["sent_bytes_per_step"] > 0
        assert [line for line in caplog.messages if line.startswith(f"trained {model}")]
        assert [line for line in caplog.messages if "epoch 1 of at most 4" in line]
    assert made["ray"] == made["local"]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["actor", "machine"])
def test_after_a_loss_the_next_run_continues(
    lost: str,
    nodes: Any,
    tmp_path: Path,
    execution: ExecutionConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "brmrs")
    (tmp_path / "pids").mkdir()
    monkeypatch.setattr(stage, "learn_columns", partial(by_columns.learn_often, tmp_path / "pids"))
    inputs = write_inputs(tmp_path / "inputs")
    long = {"epochs": 60, "patience": 60}
    whole = context(inputs, tmp_path / "whole", settings("lightgcn", ExecutionConfig(), **long))
    stage.run(whole)
    disturbed = context(inputs, tmp_path / "lost", settings("lightgcn", execution, **long))

    def lose() -> None:
        pid = _pid_of_another_node(nodes, tmp_path / "pids")
        if lost == "actor":
            os.kill(pid, signal.SIGKILL)
        else:
            nodes.remove_node(_node_of(nodes, pid), allow_graceful=False)

    killer = threading.Thread(target=_after, args=(disturbed.scratch, lose))
    killer.start()
    with pytest.raises(
        UserError, match=r"process \d of 2 of the training was lost .* run again to continue"
    ):
        stage.run(disturbed)
    killer.join()
    assert {path.name.split(".")[0] for path in disturbed.scratch.glob("share-*")} == {
        "share-0-of-2",
        "share-1-of-2",
    }
    stage.run(disturbed)
    assert [line for line in caplog.messages if line.startswith("training continues after epoch")]
    assert content(disturbed.out) == content(whole.out)
    actors = [int(path.read_text()) for path in (tmp_path / "pids").iterdir()]
    limit = time.monotonic() + 30
    while any(map(processes().pid_exists, actors)) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not any(map(processes().pid_exists, actors))


def _after(scratch: Path, lose: Callable[[], None]) -> None:
    """Lose something once the checkpoints of an epoch exist."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        epochs = {int(path.name.split(".")[1]) for path in scratch.glob("share-*.*.pt")}
        if epochs and max(epochs) >= 3:
            return lose()
        time.sleep(0.01)
    return None


def _pid_of_another_node(nodes: Any, pids: Path) -> int:
    """A process of the training on a node that is not this process's."""
    head = nodes.head_node.all_processes["raylet"][0].process.pid
    found = [int(path.read_text()) for path in sorted(pids.glob("*.pid"))]
    return next(pid for pid in reversed(found) if processes().Process(pid).ppid() != head)


def _node_of(nodes: Any, pid: int) -> Any:
    raylet = processes().Process(pid).ppid()
    (found,) = [
        node for node in nodes.worker_nodes if node.all_processes["raylet"][0].process.pid == raylet
    ]
    return found
