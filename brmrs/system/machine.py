"""The machine that a stage runs on, and how much memory it takes there."""

import os
import platform
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")  # of Linux
SECONDS_BETWEEN_LOOKS = 0.02


def describe() -> dict[str, Any]:
    """This machine."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


def high_water() -> int:
    """The most memory, in bytes, that this process has held."""
    if STATUS.is_file():  # getrusage starts from the peak of the parent
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass
class Peak:
    """The most memory, in bytes, that this process held during some work; known at its end."""

    bytes: int = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure what runs inside.

    Stages are threads of one process, and only the memory of the process can be measured. So the
    number includes stages that run at the same time, and libraries that earlier stages loaded.
    """
    peak, before, ended = Peak(), high_water(), threading.Event()

    def look() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            peak.bytes = max(peak.bytes, _held())

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        yield peak
    finally:
        ended.set()
        looker.join()
        after = high_water()
        # If the peak rose, it is exact: it was reached within the block. Else take the samples.
        peak.bytes = after if after > before else max(peak.bytes, _held())


def _held() -> int:
    """Bytes that this process holds now; its peak if the system does not report that."""
    return _status("VmRSS") if STATUS.is_file() else high_water()


def _status(name: str) -> int:
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024
