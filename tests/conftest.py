"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each worker and what it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig

pytest_plugins = ["report_run"]  # its fixtures serve tests/report

# In CI the same examples every time; new ones are tried on the machines of those who change the
# code. No deadline: the time of one example depends on what else the machine does.
hypothesis.settings.register_profile("ours", derandomize=bool(os.environ.get("CI")), deadline=None)
hypothesis.settings.load_profile("ours")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real inputs that may not be redistributed; tests that use them skip where they are absent."""
    root = Path(os.environ.get("BRMRS_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"no shared data at {root}")
    return root


@pytest.fixture(scope="session")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample dump small enough to run the pipeline on in seconds. Nobody may change it."""
    from brmrs.sample.write import write_sample

    folder = tmp_path_factory.mktemp("dump") / "sample"
    write_sample(folder, seed=0, users=120, items=50)
    return folder


@pytest.fixture(scope="session")
def small_config(small_sample: Path) -> PipelineConfig:
    """The pipeline over `small_sample`, random weights for the pictures, two epochs."""
    values = {
        "name": "small",
        "ingest": {
            "reviews": small_sample / "reviews.jsonl.gz",
            "metadata": small_sample / "meta.jsonl.gz",
            "max_bad_share": 0.1,
        },
        "images": {"folder": small_sample / "images", "fetch": False},
        "features": {"visual": {"backbone": "resnet18", "weights": "random"}},
        "model": {"name": "br-mrs", "dim": 8},
        "train": {"epochs": 2, "batch_size": 512},
    }
    return parse(values, "small_config")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A real Prefect server with a database of its own, one for all tests."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny kernels on several threads spend their time waiting for each other on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
