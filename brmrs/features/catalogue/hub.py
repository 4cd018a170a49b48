"""Revisions of models of the Hugging Face hub.

The stage keys hold the revision, a commit id, so an updated model gives new vectors.
"""

import os
import re
from pathlib import Path

from brmrs.errors import UserError, first_line

TIMEOUT = 10.0  # seconds
_COMMIT = re.compile(r"[0-9a-f]{40}")
ORGANISATION = "sentence-transformers"  # organisation of models that are named without one


def revision(model: str, field: str) -> str:
    """The commit of a hub model that is loaded: the one in the local cache, else the hub's newest.

    Args:
        model: id on the hub.
        field: of the configuration, that names it.

    Raises:
        UserError: it is not in the cache, and the hub does not answer or does not have it.
    """
    found = [commit for name in _names(model) if (commit := _cached(name))]
    return found[0] if found else _newest(model, field)


def _names(model: str) -> tuple[str, ...]:
    return (model,) if "/" in model else (f"{ORGANISATION}/{model}", model)


def _cached(name: str) -> str | None:
    """The commit of the branch `main` at the last fetch of the model."""
    from huggingface_hub import constants

    cache = os.environ.get("SENTENCE_TRANSFORMERS_HOME") or constants.HF_HUB_CACHE
    folder = Path(cache, f"models--{name.replace('/', '--')}")
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    is_there = _COMMIT.fullmatch(commit) and (folder / "snapshots" / commit).is_dir()
    return commit if is_there else None


def _newest(model: str, field: str) -> str:
    from huggingface_hub import HfApi

    try:
        commit = HfApi().model_info(_names(model)[0], timeout=TIMEOUT).sha
    except Exception as error:  # the client's errors have no common class
        raise UserError(
            f"{field}: {model} is not in the hub's cache and cannot be looked up "
            f"({first_line(error)}); connect to the network, or give a folder that holds the model"
        ) from error
    return commit or ""
