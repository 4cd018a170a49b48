"""Weights that are installed as a package, checked against their published digest.

Imports nothing heavy, and does not run the package's code.
"""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from brmrs.errors import UserError
from brmrs.system.files import digest_file

NO_WEIGHTS = (
    "features.visual.weights: the backbone {name} of a plug-in has no pretrained weights; set "
    "weights_path to a state dict, or weights to random or a method"
)


def weights_file(distribution: str, name: str, sha256: str, needs: str) -> Path:
    """The path of a file in an installed package.

    Args:
        distribution: of the package, as an installer names it.
        name: of the file, relative to the package's folder.
        sha256: of the file.
        needs: the beginning of the error, such as "features.text.model: NAME".

    Raises:
        UserError: the package is absent, or the file is not the published one.
    """
    spec = find_spec(distribution.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"{needs} needs the package {distribution}; install it: pip install {distribution}"
        )
    path = Path(spec.submodule_search_locations[0]) / name
    try:
        found = path.stat()
        digest = _digest(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; reinstall {distribution}") from error
    if digest != sha256:
        raise UserError(f"{path}: SHA-256 is {digest}, expected {sha256}; reinstall {distribution}")
    return path


def backbone_weights(name: str, options: Mapping[str, Any]) -> Path | None:
    """The weights file of a backbone that registers one; None if it does not.

    Args:
        name: of the backbone.
        options: of its `@register`: `distribution`, `weights` (the file) and `sha256`.

    Raises:
        UserError: as for `weights_file`.
    """
    if "weights" not in options:
        return None
    needs = f"features.visual.backbone: {name}"
    return weights_file(options["distribution"], options["weights"], options["sha256"], needs)


@cache
def _digest(path: Path, *_signature: int) -> str:
    """Cached: a run needs it several times, and it takes a tenth of a second."""
    return digest_file(path)
