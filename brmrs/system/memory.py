"""The free memory of a device."""

from typing import TYPE_CHECKING

from brmrs.system.ram import free_for_cpu

if TYPE_CHECKING:
    import torch


def free_memory(device: "torch.device") -> int | None:
    """Bytes that a process can still allocate on a device; None if the system does not report it.

    On a CPU see `free_for_cpu`.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return free_for_cpu()
