"""Keep what each step frees for the next step, instead of giving it back to the kernel."""

import contextlib
import ctypes

# Of glibc's <malloc.h>. Blocks beyond 32 MiB, its largest threshold, are always mapped anew.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST_KEPT = 2**30, 2**25  # bytes


def keep_freed_memory() -> None:
    """Tell glibc, for this process, to keep up to 1 GiB of freed memory at hand.

    A step allocates and frees the same megabytes; by default glibc returns them each time, and the
    kernel hands them out again page by page: of an epoch of LightGCN on Baby that was a quarter.
    Elsewhere than on glibc this does nothing.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
