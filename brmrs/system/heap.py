"""Keep what each step frees for the next step, instead of giving it back to the kernel."""

import contextlib
import ctypes
from collections.abc import Iterator

# Of glibc's <malloc.h>. Blocks beyond 32 MiB, its largest threshold, are always mapped anew.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEPT, _USUAL_MAX = 2**30, 2**16  # bytes, mappings
LARGEST_KEPT = 2**25  # bytes of a block that `keep_freed_memory` keeps


def keep_freed_memory() -> None:
    """Tell glibc, for this process, to keep up to 1 GiB of freed memory at hand.

    A step allocates and frees the same megabytes; by default glibc returns them each time, and the
    kernel hands them out again page by page: of an epoch of LightGCN on Baby that was a quarter.
    Elsewhere than on glibc this does nothing.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, LARGEST_KEPT)


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While it lasts, `keep_freed_memory` for blocks of any size.

    It was a quarter of VGG16's forward pass, and of a step of LightGCN on Electronics, whose tables
    have 49 MB. For work that asks for the same few sizes again and again; where no block is that
    large, holes between blocks add up for nothing: trainings on Baby took 5 % more memory.
    """
    keep_freed_memory()
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except AttributeError:
        yield
        return
    mallopt(_MMAP_MAX, 0)  # what has a mapping of its own is given back in any case
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, _USUAL_MAX)
        trim(0)
