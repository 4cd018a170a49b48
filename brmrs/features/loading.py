"""Loading models of sentence-transformers, and the lock around all loading.

Stages are threads of one process, and transformers replaces `torch.nn.init` for the whole process
while it loads a model: random weights that are drawn in the meantime are garbage.
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
        UserError: there is none, or it cannot be had.
    """
    source = text_model.resolve(name, field)
    with LOADING:
        return _load(source, field)


def _load(source: Path | str, field: str) -> SentenceTransformer:
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # From the disk first: a model that is there needs no network.
        return SentenceTransformer(str(source), device=str(device()), local_files_only=True)
    except Exception as error:  # whatever its files make the library raise
        if isinstance(source, Path):
            raise UserError(
                f"{field}: {source} is no sentence-transformers model "
                f"({first_line(error)}); give the folder that `model.save` wrote"
            ) from error
    try:
        # Asks once; the library itself would try for a minute where there is no network.
        HfApi().model_info(source, timeout=HUB_TIMEOUT)
        return SentenceTransformer(source, device=str(device()))
    except Exception as error:  # the hub's client and the library have no common class
        raise UserError(
            f"{field}: {source} is neither in the hub's cache nor could it be fetched "
            f"({first_line(error)}); connect to the network, or give a folder that holds the model"
        ) from error
