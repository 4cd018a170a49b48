"""Checkpoints: a state on disk that is either whole or ignored."""

import hashlib
import io
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from brmrs.system.files import NotRegularError, open_regular

LOG = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; a kill at any moment leaves the old file or the new one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")  # one name: a killed training leaves no more than one
    part.unlink(missing_ok=True)
    try:
        with part.open("xb") as file:  # never through a link
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # on a full disk it takes the room of the next try


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is none, or where it is damaged (with a warning)."""
    try:
        with open_regular(path) as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except NotRegularError:
        LOG.warning("%s is no regular file and is ignored; training starts anew", path.name)
        return None
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        LOG.warning("%s is damaged and ignored; training starts anew", path.name)
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(body), device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        LOG.warning("%s cannot be read and is ignored: %s", path.name, error)
        return None
    return state
