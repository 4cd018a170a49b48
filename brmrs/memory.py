"""How much memory this machine still has to give."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: "torch.device") -> int | None:
    """Bytes that a process may still take on a device; None where the system does not tell.

    On a CPU the kernel's MemAvailable, or what the container's limit leaves, if that is less.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    found = [free for free in (_available(), _left_by_limit()) if free is not None]
    return min(found, default=None)


def _available() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(sizes[0]) * 1024 if sizes else None


def _left_by_limit() -> int | None:
    try:
        limit, used = ((CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return None if limit.strip() == "max" else max(0, int(limit) - int(used))
