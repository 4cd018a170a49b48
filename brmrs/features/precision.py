"""The rule by which a model runs in bf16.

With `auto`, a model runs in bf16 on two conditions. The processor multiplies bf16 in hardware, and
for every probe of a fixed set, the cosine between bf16 and fp32 vector is at least `MIN_COSINE`.
The probes do not depend on the data, so on one machine a model always has the same precision.
"""

import copy
from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Precision = Literal["fp32", "bf16"]
Wanted = Literal["auto", "fp32", "bf16"]
MIN_COSINE = 0.9995

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def device() -> torch.device:
    """The device that models run on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def processor() -> dict[str, str | list[str]]:
    """The kind of processor that models run on, because rounding depends on it."""
    if torch.cuda.is_available():
        return {"device": "cuda", "name": torch.cuda.get_device_name()}
    found = torch.cpu.get_capabilities()
    # Its instruction sets: the libraries choose their kernels by them.
    return {"device": "cpu", "has": sorted(name for name, has in found.items() if has is True)}


def has_bf16() -> bool:
    """Whether the processor that models run on multiplies bf16 in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def in_bf16(model: ModuleT) -> ModuleT:
    """A copy of a model with its weights in bf16.

    Buffers (running statistics, frequencies of rotary positions) span orders of magnitude and stay
    in fp32. So does batch normalisation, whose weights must have the type of its statistics.
    """
    result = copy.deepcopy(model).to(torch.bfloat16)
    for original, module in zip(model.modules(), result.modules(), strict=True):
        for name, buffer in original.named_buffers(recurse=False):
            setattr(module, name, buffer)
        if isinstance(module, _BatchNorm):
            module.float().load_state_dict(original.state_dict())
    return result


def choose(
    wanted: Wanted,
    model: ModuleT,
    probe: Callable[[ModuleT], np.ndarray],
) -> tuple[ModuleT, Precision]:
    """The model to run, and its precision by the rule above.

    Args:
        wanted: "auto", or the precision itself.
        model: in fp32.
        probe: embeds the probes with a model: (P, d).
    """
    if wanted == "fp32" or (wanted == "auto" and not has_bf16()):
        return model, "fp32"
    fast = in_bf16(model)
    if wanted == "bf16" or cosines(probe(model), probe(fast)).min() >= MIN_COSINE:
        return fast, "bf16"
    return model, "fp32"


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N,) cosines of the rows of two (N, d) arrays; 1 where both are zero, -1 where not finite."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    same = (one == other).all(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = (one * other).sum(axis=1) / lengths
    return np.where(same, 1.0, np.nan_to_num(result, nan=-1.0, posinf=-1.0, neginf=-1.0))
