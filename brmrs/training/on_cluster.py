"""The processes of one training as actors on the machines of a Ray cluster.

The process that calls `launch` keeps the checkpoints of all, so that a later run can place its
actors on other machines. The actors meet by TCP on the addresses that the cluster uses.
"""

import logging
import os
import queue
import socket
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from brmrs.errors import UserError, first_line
from brmrs.system import cluster, code
from brmrs.system.checkpoint import Content
from brmrs.system.cluster import Pool
from brmrs.system.files import digest_json
from brmrs.training.member import CRASHED, RECORD, REFUSED, RESULT, STEP, Job, Seat, Shown, work
from brmrs.training.packed import Bytes, Packed, pack, unpack
from brmrs.training.shares import Folder

LOG = logging.getLogger(__name__)
SHARE = "share"  # a message: epoch and content of a checkpoint
SECONDS_OF_A_LOOK = 0.2  # an actor waits so long for a message
SECONDS_FOR_CAUSES = 10.0  # after a failure, whose cause another process may report later
SECONDS_BETWEEN_LINES = 60.0  # while the cluster is busy
TRAINING = "brmrs.training.stage"  # its code must be the same on all machines


@dataclass(frozen=True)
class OnCluster:
    """A packed value in the cluster's memory, one copy on each machine that loads it.

    Attributes:
        packed: reference to a `Packed`.
    """

    packed: Any

    def load(self) -> Any:
        """The value; its tensors cannot be written to."""
        return unpack(import_module("ray").get(self.packed))

    def discard(self) -> None:
        """It is freed with the last reference."""


def put(value: Any, pool: Pool) -> OnCluster:
    """Put a value into the cluster's memory.

    Raises:
        UserError: no cluster.
    """
    return OnCluster(cluster.connected(pool).put(pack(value)))


def launch(job: Job, pool: Pool, folder: Path) -> Any:
    """See `by_dimension.launch`."""
    ray = cluster.connected(pool)
    strategies: Any = import_module("ray.util.scheduling_strategies")
    place = _reserved(ray, job, pool)
    members: list[Any] = []
    try:
        on_machine = ray.remote(_OnMachine)
        for number in range(job.processes):
            bundle = strategies.PlacementGroupSchedulingStrategy(place, number)
            # A second thread answers `take` while the first one works.
            options = {"max_concurrency": 2, "max_restarts": 0, "scheduling_strategy": bundle}
            uses = {"num_cpus": pool.cores, "num_gpus": _gpus(job)}
            members.append(on_machine.options(**options, **uses).remote())
        host = ray.util.get_node_ip_address()
        meeting = _meeting(host)  # open until the job has ended
        about = _About(job.processes, pool.cores, host, meeting.port, _installation())
        LOG.info(
            "training in %d processes of %d cores on the cluster of %s",
            job.processes,
            pool.cores,
            host,
        )
        kept = [Folder(folder, number, job.processes) for number in range(job.processes)]
        found = [_arrays(each.read()) for each in kept]
        running = {
            member.run.remote(number, job, about, found[number]): number
            for number, member in enumerate(members)
        }
        return unpack(_Supervision(ray, members, kept).result(running))
    finally:
        for member in members:
            ray.kill(member)
        ray.util.remove_placement_group(place)


def _arrays(contents: Mapping[int, Content]) -> dict[int, Bytes]:
    """As arrays, which Ray sends without copies."""
    return {epoch: np.frombuffer(content, np.uint8) for epoch, content in contents.items()}


def _gpus(job: Job) -> int:
    return int(job.on.type == "cuda")


def _reserved(ray: Any, job: Job, pool: Pool) -> Any:
    """Room for all processes, on as many machines as there are; waits while others use it.

    Raises:
        UserError: the cluster is too small.
    """
    needs = {"CPU": float(pool.cores), "GPU": float(_gpus(job))}
    bundle = {name: amount for name, amount in needs.items() if amount}
    place = ray.util.placement_group([bundle] * job.processes, strategy="SPREAD")
    try:
        while not place.wait(SECONDS_BETWEEN_LINES if _has_room(ray, bundle, job) else 0):
            LOG.info("waiting for %d processes' room in the cluster", job.processes)
    except BaseException:
        ray.util.remove_placement_group(place)
        raise
    return place


def _has_room(ray: Any, bundle: dict[str, float], job: Job) -> bool:
    """Whether the machines, if idle, have room for all processes.

    Raises:
        UserError: they do not.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        min(int(machine.get(name, 0) // amount) for name, amount in bundle.items())
        for machine in machines
    )
    if room < job.processes:
        each = " and ".join(f"{amount:.0f} {name}" for name, amount in bundle.items())
        raise UserError(
            f"train.processes is {job.processes}, and the cluster's {len(machines)} machines have "
            f"room for {room} processes of {each}; change train.processes, execution.cores or "
            "train.device"
        )
    return True


def _meeting(host: str) -> Any:
    """The store by which the processes meet, which listens only on this address."""
    family = socket.getaddrinfo(host, None)[0][0]
    listening = socket.create_server((host, 0), family=family)
    port = listening.getsockname()[1]
    return dist.TCPStore(  # type: ignore[attr-defined]
        host,
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listening.detach(),
    )


@cache
def _installation() -> str:
    """What must be the same on all machines."""
    modules = sorted(code.closure(TRAINING))
    return digest_json([torch.__version__, {module: code.digest(module) for module in modules}])


@dataclass(frozen=True)
class _About:
    """What all processes of a job have in common, beside the job."""

    processes: int
    cores: int
    host: str  # of the meeting
    port: int
    installation: str


@dataclass
class _Supervision:
    """Takes the messages of all processes, and keeps their checkpoints.

    Attributes:
        ray: the module.
        members: the actors.
        kept: the checkpoints of each.
    """

    ray: Any
    members: list[Any]
    kept: list[Folder]
    shown: Shown = field(default_factory=Shown)
    found: dict[str, Any] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    _written: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    def result(self, running: dict[Any, int]) -> Packed:
        """Wait until all have ended; returns what the first one handed over.

        Args:
            running: the numbers of the processes by the references of their work.
        """
        looks = {member.take.remote(): number for number, member in enumerate(self.members)}
        until = float("inf")
        with self.shown.tasks:
            while (running or looks) and time.monotonic() < until:
                ready, _ = self.ray.wait([*running, *looks], num_returns=1, timeout=1.0)
                for each in ready:
                    if each in running:
                        number = running.pop(each)
                        if not self._ended(number, each):
                            until = min(until, time.monotonic() + SECONDS_FOR_CAUSES)
                        looks[self.members[number].take.remote()] = number  # its last messages
                    else:
                        number = looks.pop(each)
                        self._take(number, each)
                        if number in running.values():
                            looks[self.members[number].take.remote()] = number
        if self.lost or {REFUSED, CRASHED} & self.found.keys():
            raise self._fault()
        packed: Packed = self.found[RESULT]
        return packed

    def _ended(self, number: int, work: Any) -> bool:
        """Take the outcome of a process; whether it ended well."""
        try:
            kind, value = self.ray.get(work)
        except self.ray.exceptions.RayTaskError as error:
            kind, value = CRASHED, str(error)
        except self.ray.exceptions.RayError as error:
            self.lost[number] = first_line(error)
            return False
        if kind != RESULT or number == 0:
            self.found.setdefault(kind, value)
        return bool(kind == RESULT)

    def _take(self, number: int, look: Any) -> None:
        try:
            messages = self.ray.get(look)
        except self.ray.exceptions.RayError:
            return  # it is lost, as its work tells
        for kind, value in messages:
            if kind == SHARE:
                self._keep(number, *value)
            elif kind in (RECORD, STEP):
                self.shown.show(kind, value)

    def _keep(self, number: int, epoch: int, content: Bytes) -> None:
        self.kept[number].write(epoch, content.data)
        self._written[epoch].add(number)
        if len(self._written[epoch]) == len(self.members):
            for each in self.kept:
                each.remove_others(epoch)
            del self._written[epoch]

    def _fault(self) -> Exception:
        """The cause of a failure: one process's death makes the messages of the others fail."""
        if REFUSED in self.found:
            return UserError(self.found[REFUSED])
        if not self.lost:
            return RuntimeError(self.found[CRASHED])
        number, line = min(self.lost.items())
        return UserError(
            f"process {number + 1} of {len(self.members)} of the training was lost with its actor "
            f"or machine ({line}); run again to continue from the checkpoint"
        )


class _OnMachine:
    """The actor: one process of the training."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._shares: queue.Queue[tuple[int, Bytes]] = queue.Queue(maxsize=1)

    def run(
        self, number: int, job: Job, about: _About, found: Mapping[int, Bytes]
    ) -> tuple[str, Any]:
        """Work. Its arguments and result are those of `member.work`."""
        ray = import_module("ray")
        address = ray.util.get_node_ip_address()
        if _installation() != about.installation:
            return REFUSED, (
                f"execution: {address} has other code or another version of torch than "
                f"{about.host}; install the same on all machines"
            )
        interface = _interface(address)
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={interface}")
        store = dist.TCPStore(  # type: ignore[attr-defined]
            about.host, about.port, is_master=False
        )
        seat = Seat(
            number,
            ray.get_runtime_context().get_node_id(),
            torch.device("cuda", 0) if job.on.type == "cuda" else job.on,
            about.cores,
            {"store": store},
            _Sent(found, self._shares),
            lambda kind, value: self._messages.put((kind, value)),
            pack,
        )
        return work(job, seat)

    def take(self) -> list[tuple[str, Any]]:
        """The messages since the last call; waits a little for the first one."""
        found: list[tuple[str, Any]] = []
        until = time.monotonic() + SECONDS_OF_A_LOOK
        while not found and time.monotonic() < until:
            time.sleep(0.02)
            while not self._messages.empty():
                found.append(self._messages.get())
            if not self._shares.empty():
                found.append((SHARE, self._shares.get()))
        return found


@dataclass(frozen=True)
class _Sent:
    """The checkpoints of a process, kept by the one that started the job.

    A process that saves waits until its last checkpoint has been taken.
    """

    found: Mapping[int, Bytes]
    shares: "queue.Queue[tuple[int, Bytes]]"

    def read(self) -> Mapping[int, Content]:
        """What was kept when the job started."""
        return {epoch: content.data for epoch, content in self.found.items()}

    def write(self, epoch: int, content: Content) -> None:
        """Send it."""
        self.shares.put((epoch, np.frombuffer(content, np.uint8)))

    def remove_others(self, epoch: int) -> None:
        """Done where they are kept."""


def _interface(address: str) -> str:
    """The network interface that has an address."""
    psutil = import_module("psutil")  # which ray brings along
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            return str(name)
    raise UserError(f"execution: no network interface of this machine has the address {address}")
