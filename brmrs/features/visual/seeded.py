"""Make library code draw from a given generator instead of torch's global one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWS = {
    "normal_",
    "uniform_",
    "trunc_normal_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "rand",
    "randint",
    "randperm",
}


class DrawFrom(TorchFunctionMode):
    """Every draw of the kinds above, in this block and thread, comes from one generator.

    Blocks may be nested. Networks get torchvision's own initialisation and pictures torchvision's
    own augmentations, and the global generator, which threads of other stages may use, is not
    touched.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if getattr(func, "__name__", "") in _DRAWS and options.get("generator") is None:
            options["generator"] = self._generator
        return func(*args, **options)
