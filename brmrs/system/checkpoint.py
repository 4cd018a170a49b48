"""Checkpoints: a state on disk that is either whole or ignored."""

import hashlib
import io
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch

from brmrs.system.files import NotRegularError, open_regular

LOG = logging.getLogger(__name__)
Content: TypeAlias = bytes | memoryview  # of a file
_DIGEST_BYTES = hashlib.sha256().digest_size


class Checkpoints(Protocol):
    """Keeps the newest state of a training."""

    def load(self, device: torch.device, identity: dict[str, Any]) -> dict[str, Any] | None:
        """The state whose entry "run" is the identity; None without one."""

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Keep the state after an epoch instead of the last one."""


@dataclass(frozen=True)
class InFile:
    """Keeps the state of a training in one process.

    Attributes:
        path: of the file.
    """

    path: Path

    def load(self, device: torch.device, identity: dict[str, Any]) -> dict[str, Any] | None:
        """Read the file."""
        state = load(self.path, device)
        if state and state["run"] != identity:
            LOG.warning("%s is of another training run and is replaced", self.path)
            return None
        return state

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Write the file."""
        save(self.path, state)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; a kill at any moment leaves the old file or the new one."""
    write(path, packed(state))


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is none, or where it is damaged (with a warning)."""
    content = read(path)
    return None if content is None else unpacked(content, path.name, device)


def packed(state: dict[str, Any]) -> memoryview:
    """The content of a checkpoint's file."""
    buffer = io.BytesIO()
    buffer.write(bytes(_DIGEST_BYTES))
    torch.save(state, buffer)
    content = buffer.getbuffer()
    content[:_DIGEST_BYTES] = hashlib.sha256(content[_DIGEST_BYTES:]).digest()
    return content


def unpacked(content: Content, name: str, device: torch.device) -> dict[str, Any] | None:
    """The state in a content; None where it is damaged (with a warning that has the name)."""
    view = memoryview(content)
    digest, body = view[:_DIGEST_BYTES], view[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        LOG.warning("%s is damaged and ignored; training starts anew", name)
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(body), device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        LOG.warning("%s cannot be read and is ignored: %s", name, error)
        return None
    return state


def write(path: Path, content: Content) -> None:
    """Write a file; a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")  # one name: a killed training leaves no more than one
    part.unlink(missing_ok=True)
    try:
        with part.open("xb") as file:  # never through a link
            file.write(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # on a full disk it takes the room of the next try


def read(path: Path) -> bytes | None:
    """The content of a file; None where there is none, or no regular file (with a warning)."""
    try:
        with open_regular(path) as file:
            content: bytes = file.read()
    except FileNotFoundError:
        return None
    except NotRegularError:
        LOG.warning("%s is no regular file and is ignored; training starts anew", path.name)
        return None
    return content
