"""Checkpoints of a training in several processes: a file per process and epoch.

A process saves its share of the state. After a kill at any moment there is one epoch whose shares
all exist, because no process removes an older share before all have written the new one.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from brmrs.models.columns import Columns
from brmrs.system import checkpoint
from brmrs.system.checkpoint import Content

LOG = logging.getLogger(__name__)
ALONE = "checkpoint.pt"  # of a training in one process


class Keeper(Protocol):
    """Keeps the shares of one process."""

    def read(self) -> Mapping[int, Content]:
        """What is kept, by epoch."""

    def write(self, epoch: int, content: Content) -> None:
        """Keep the share of an epoch, beside those that are there."""

    def remove_others(self, epoch: int) -> None:
        """Remove all but this epoch's, which every process has written."""


@dataclass(frozen=True)
class Folder:
    """Shares of one process in a folder of this machine.

    Attributes:
        folder: also that of the other processes.
        worker: number of the process, counted from 0.
        workers: W; shares of another W are not seen.
    """

    folder: Path
    worker: int
    workers: int

    def read(self) -> Mapping[int, Content]:
        """What is in the folder."""
        files = {int(path.name.split(".")[1]): path for path in self._files() if _whole(path)}
        found = {epoch: checkpoint.read(path) for epoch, path in sorted(files.items())}
        return {epoch: content for epoch, content in found.items() if content is not None}

    def write(self, epoch: int, content: Content) -> None:
        """Write a file."""
        checkpoint.write(self.folder / f"{self._name}.{epoch}.pt", content)

    def remove_others(self, epoch: int) -> None:
        """Remove files, also those of killed writes."""
        for path in self._files():
            if path.name != f"{self._name}.{epoch}.pt":
                path.unlink(missing_ok=True)

    @property
    def _name(self) -> str:
        return f"share-{self.worker}-of-{self.workers}"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self._name}.*"))


def _whole(path: Path) -> bool:
    _, epoch, *rest = path.name.split(".")
    return rest == ["pt"] and epoch.isdecimal()


@dataclass(frozen=True)
class Shares:
    """The checkpoints of one process of several."""

    columns: Columns
    keeper: Keeper

    def load(self, device: torch.device, identity: dict[str, Any]) -> dict[str, Any] | None:
        """The share of the newest epoch that every process has; None without one."""
        found = {}
        contents = self.keeper.read()
        for epoch, content in contents.items():
            state = checkpoint.unpacked(content, f"the checkpoint of epoch {epoch}", device)
            if state and state["run"] == identity:
                found[epoch] = state
        common = set.intersection(*self.columns.everywhere(set(found)))
        if common:
            return found[max(common)]
        if contents and self.columns.first:
            LOG.warning(
                "the checkpoints are of another training run, or not of one epoch; training "
                "starts anew"
            )
        return None

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Keep the share of an epoch instead of the last one."""
        self.keeper.write(epoch, checkpoint.packed(state))
        self.columns.wait()
        self.keeper.remove_others(epoch)


def warn_of_other_counts(folder: Path, workers: int) -> None:
    """Log that a checkpoint exists which another number of processes wrote."""
    counts = {
        int(path.stem.partition(".")[0].rpartition("-")[2])
        for path in folder.glob("share-*-of-*.*.pt")
    }
    if (folder / ALONE).is_file():
        counts.add(1)
    others = sorted(counts - {workers})
    if others and workers not in counts:
        LOG.warning(
            "the checkpoint is of train.processes=%s, and now it is %d, so training starts anew",
            ", ".join(map(str, others)),
            workers,
        )
