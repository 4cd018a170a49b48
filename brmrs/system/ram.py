"""The free memory of this machine, for code that does not import torch."""

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def free_for_cpu() -> int | None:
    """Bytes that a process can still allocate; None if the system does not report it.

    The kernel's MemAvailable, or what the container's limit leaves, if that is less.
    """
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
        names = ("memory.max", "memory.current", "memory.stat")
        limit, used, parts = ((CGROUP / name).read_text() for name in names)
    except OSError:
        return None
    if limit.strip() == "max":
        return None
    sizes = dict(line.split() for line in parts.splitlines())
    # Cached files count as used, but the kernel frees them on demand.
    cached = sum(int(sizes.get(name, 0)) for name in ("active_file", "inactive_file"))
    return max(0, int(limit) - int(used) + cached)
