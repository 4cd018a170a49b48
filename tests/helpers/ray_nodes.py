"""Ray clusters on this machine, small ones."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def ray_nodes(count: int = 1, cores: int = 1) -> Iterator[Any]:
    """A cluster of so many nodes (processes), to which `ray.init(address)` connects.

    Yields the cluster of `ray.cluster_utils`; its first node is the one of this process.
    """
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own; else a busy machine starves them
    ray.shutdown()
    small: dict[str, Any] = {"num_cpus": cores, "object_store_memory": 150_000_000}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**small, "include_dashboard": False}
    )
    try:
        for _ in range(count - 1):
            cluster.add_node(**small)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
