"""Batches over a Ray cluster, by Ray Data: actors that hold their state, operators before them.

Decides where work is done, never what is computed, so it is part of no cache key.
"""

import logging
import os
import platform
import sys
import threading
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from brmrs.errors import UserError, first_line

LOG = logging.getLogger(__name__)
INSTALL = "execution.engine: ray needs the package ray; run pip install 'brmrs[ray]'"
_FAULT, _FAILURE = "fault of the user", "failure"  # columns
TRIES = 4  # in a row without any result, while machines are lost
ROUND = 256  # batches in the cluster's memory at once
_ONE_AT_A_TIME = threading.Lock()  # stages are threads of one process; each takes all actors

Columns = Mapping[str, Any]  # by name: arrays or lists of equal lengths
Work = Callable[[Columns], Columns]  # picklable


@dataclass(frozen=True)
class Tasks:
    """A step without state.

    Attributes:
        work: a function on the columns of a batch; it is pickled.
        here: run it on the machine of this process, which has the files.
    """

    work: Work
    here: bool = False


@dataclass(frozen=True)
class Actors:
    """A step whose work keeps state, such as weights. An actor gets the work once.

    Attributes:
        work: a function on the columns of a batch; it is pickled.
        most: no more actors than this.
        computes: whether it uses the cores and GPUs of the configuration, or hardly any.
    """

    work: Work
    most: int | None = None
    computes: bool = True


@dataclass(frozen=True)
class Pool:
    """The actors.

    Attributes:
        address: of the cluster: `HOST:PORT` or `auto`; None: one is started on this machine.
        workers: number of actors; None: as many as the cluster has room for.
        cores: of each actor.
        gpus: of each actor.
    """

    address: str | None = None
    workers: int | None = None
    cores: int = 1
    gpus: float = 0.0


def check_installed() -> None:
    """Check that ray is installed, without loading it.

    Raises:
        UserError: it is not.
    """
    if find_spec("ray") is None:
        raise UserError(INSTALL)


def room(pool: Pool) -> str:
    """What the cluster has, in words.

    Raises:
        UserError: no cluster, or no room in it.
    """
    ray = connected(pool)
    return f"{len(ray.nodes())} machines, room for {_workers(ray, pool, pool.workers or 1)} workers"


def connected(pool: Pool) -> Any:
    """The module `ray`, connected to the cluster until this process ends.

    Raises:
        UserError: ray is not installed, or there is no cluster at the address.
    """
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ModuleNotFoundError as error:
        raise UserError(INSTALL) from error
    if not ray.is_initialized():
        alone: dict[str, Any] = {}
        if not pool.address:
            alone = {"include_dashboard": False, "num_cpus": os.cpu_count()}
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
            os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's default is nearly the lowest
        try:
            ray.init(
                address=pool.address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **alone,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"execution.address: {pool.address or 'this machine'}: {first_line(error)}; start "
                "the cluster (ray start), or correct the address"
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def apply(
    pool: Pool, batches: Sequence[Columns], steps: Sequence[Tasks | Actors]
) -> Iterator[Columns]:
    """Apply steps to batches, one after the other; yields the results in any order.

    If a machine of the cluster is lost, the batches that were not yielded yet run again.

    Args:
        pool: the actors.
        batches: what is worked on; never divided or joined. Each has a column `row` of integers,
            which is in no other batch, and which the steps keep.
        steps: each runs on the output of the one before, while that still runs.

    Raises:
        UserError: no cluster, or no room in it, or a step raised one.
        RuntimeError: a step failed, or machines are lost again and again.
    """
    waiting = {int(batch["row"][0]): batch for batch in batches}
    if not waiting:
        return
    with _ONE_AT_A_TIME:
        ray = connected(pool)
        shipped = [ray.put(step.work) for step in steps]
        losses = 0
        while waiting:
            part = list(waiting.values())[:ROUND]
            # A cluster that lost machines goes on with fewer actors.
            workers = _workers(ray, pool, 1 if losses else pool.workers or 1)
            work = list(zip(steps, shipped, strict=True))
            try:
                for found in _run(ray, pool, workers, part, work):
                    del waiting[int(found["row"][0])]
                    losses = 0
                    yield found
            except _losses(ray) as error:
                losses += 1
                if losses == TRIES:
                    raise RuntimeError(f"ray: {first_line(error)}") from error
                LOG.warning("ray: an actor or a machine was lost; %d batches remain", len(waiting))


def _run(
    ray: Any,
    pool: Pool,
    workers: int,
    batches: Sequence[Columns],
    steps: Sequence[tuple[Tasks | Actors, Any]],
) -> Iterator[Columns]:
    """Run the steps, each with its work in the cluster's memory, on batches that fit there."""
    names: list[str] = []  # of the actors
    data = ray.data.from_arrow([pa.table(dict(batch)) for batch in batches])
    for step, work in steps:
        if isinstance(step, Actors):
            size = min(workers, len(batches), step.most or workers)
            data = _by_actors(ray, data, step, work, pool, size, names)
        else:
            data = _by_tasks(ray, data, step, min(workers, len(batches)))
    try:
        for found in data.iter_batches(batch_size=None, batch_format="numpy"):
            if _FAULT in found:
                raise UserError(str(found[_FAULT][0]))
            if _FAILURE in found:
                raise RuntimeError(str(found[_FAILURE][0]))
            yield found
    except _losses(ray):
        raise
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"ray: {first_line(error)}") from error
    finally:
        # After a failure Ray Data leaves its actors, and these keep the cores.
        for name in names:
            with suppress(ValueError):  # it has ended
                ray.kill(ray.get_actor(name))


def _losses(ray: Any) -> tuple[type[Exception], ...]:
    """Errors after which the same batches may run well."""
    found = ray.exceptions
    return (
        found.RayActorError,
        found.ObjectLostError,
        found.WorkerCrashedError,
        found.NodeDiedError,
        found.ActorUnavailableError,
    )


def _by_actors(
    ray: Any, data: Any, step: Actors, work: Any, pool: Pool, size: int, names: list[str]
) -> Any:
    """The data after actors, whose names are added to `names` when they start."""

    def settings() -> dict[str, Any]:
        names.append(f"brmrs-{uuid.uuid4().hex}")
        # An actor whose machine is lost might wait for another one for ever.
        return {"max_restarts": 0, "max_task_retries": 0, "name": names[-1]}

    uses = {"num_cpus": 0.0}
    if step.computes:
        uses = {"num_cpus": float(pool.cores), "num_gpus": pool.gpus}
    with warnings.catch_warnings():  # Ray 2.64 will have another name for the restarts
        warnings.simplefilter("ignore", DeprecationWarning)
        return data.map_batches(
            _Actor,
            fn_constructor_args=(work, pool.cores),
            compute=ray.data.ActorPoolStrategy(size=size),
            batch_size=None,
            ray_remote_args_fn=settings,
            **uses,
        )


def _by_tasks(ray: Any, data: Any, step: Tasks, workers: int) -> Any:
    """Without a claim on cores: the actors may have all, and wait for the results."""
    here = ray.get_runtime_context().get_node_id() if step.here else "!none"
    return data.map_batches(
        _guarded(step.work),
        compute=ray.data.TaskPoolStrategy(size=workers),
        num_cpus=0,
        batch_size=None,
        # Also for steps that run anywhere, or Ray would join them with the step before, here.
        label_selector={"ray.io/node-id": here},
    )


def _guarded(work: Work) -> Work:
    """The work, with an error as a column: Ray would wrap it, and name it only in a long text."""

    def guarded(batch: Columns) -> Columns:
        if _FAULT in batch or _FAILURE in batch:
            return batch
        try:
            return work(batch)
        except UserError as error:
            return {_FAULT: [str(error)]}
        except Exception as error:
            name = f"{type(error).__name__}: {first_line(error)}, on {platform.node()}"
            return {_FAILURE: [f"{name}\n{traceback.format_exc()}"]}

    return guarded


class _Actor:
    """Holds the work, which may have loaded weights."""

    def __init__(self, work: Any, cores: int) -> None:
        ray: Any = import_module("ray")
        self._work = _guarded(ray.get(work))
        if torch := sys.modules.get("torch"):  # the work needs it
            torch.set_num_threads(cores)

    def __call__(self, batch: Columns) -> Columns:
        return self._work(batch)


def _workers(ray: Any, pool: Pool, least: int) -> int:
    """Number of actors that the cluster has room for, at most the configured one."""
    has = ray.cluster_resources()
    room = int(has.get("CPU", 0) // pool.cores)
    if pool.gpus:
        room = min(room, int(has.get("GPU", 0) / pool.gpus))
    if room < least:
        raise UserError(
            f"execution: the cluster has {has.get('CPU', 0):.0f} cores and "
            f"{has.get('GPU', 0):.0f} GPUs, room for {room} workers of {pool.cores} cores and "
            f"{pool.gpus:g} GPUs; change execution.workers, cores or gpus"
        )
    return min(room, pool.workers or room)
