"""The backbones of torchvision, read from its sources: importing it would take seconds."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_REGISTERED = re.compile(r"^@register_model\(\)$.*?^def (\w+)\(", re.DOTALL | re.MULTILINE)


@cache
def names() -> frozenset[str]:
    """The names of its image classifiers; empty if its sources are not found."""
    spec = find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    files = Path(spec.submodule_search_locations[0], "models").glob("*.py")
    texts = (file.read_text(encoding="utf-8") for file in files)
    return frozenset(name for text in texts for name in _REGISTERED.findall(text))
