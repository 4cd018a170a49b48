"""Load models of sentence-transformers, one at a time.

Stages are threads of one process. While transformers loads a model, it replaces `torch.nn.init` in
the whole process. Random weights drawn at that time would be wrong, so a lock protects all loading.
"""

import threading
from pathlib import Path

from huggingface_hub import HfApi
from sentence_transformers import SentenceTransformer
from transformers.utils.logging import disable_progress_bar

from brmrs.errors import UserError, first_line
from brmrs.features.catalogue import text as text_model
from brmrs.features.precision import device

LOADING = threading.RLock()
HUB_TIMEOUT = 10.0  # seconds


def load(name: str, field: str = "features.text.model") -> SentenceTransformer:
    """A sentence-transformers model: the packaged one, a folder, or an id of the hub.

    Args:
        name: of the model.
        field: of the configuration, that names it.

    Raises:
        UserError: it does not exist or cannot be loaded.
    """
    source = text_model.resolve(name, field)
    with LOADING:
        return _load(source, field)


def _load(source: Path | str, field: str) -> SentenceTransformer:
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # From the disk first: a cached model needs no network.
        return SentenceTransformer(str(source), device=str(device()), local_files_only=True)
    except Exception as error:  # damaged files raise errors of any class
        if isinstance(source, Path):
            raise UserError(
                f"{field}: {source} is not a sentence-transformers model "
                f"({first_line(error)}); give the folder that `model.save` wrote"
            ) from error
    try:
        # One request; without a network the library itself would try for a minute.
        HfApi().model_info(source, timeout=HUB_TIMEOUT)
        return SentenceTransformer(source, device=str(device()))
    except (
        Exception
    ) as error:  # the errors of the hub's client and the library have no common class
        raise UserError(
            f"{field}: {source} is not in the hub's cache and cannot be fetched "
            f"({first_line(error)}); connect to the network, or give a folder that holds the model"
        ) from error
